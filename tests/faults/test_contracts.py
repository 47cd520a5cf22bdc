"""Bad records, several schema versions, a date ten years ahead and a registry that is down, on the real stack at once.

Acknowledged ids = ids in Bronze + ids in the quarantine, none twice; no good row is rejected for the registry.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from kafka_rows import framed, stock_event
from pyspark.sql import SparkSession

from infra.local import registry as registry_service
from infra.local import stack as embedded
from infra.local.plan import read_plan
from infra.local.processes import stop
from lakehouse import direct_read, lease, metrics
from lakehouse.contracts.declared import inventory_schema
from lakehouse.errors import StepFailed
from lakehouse.kafka_config import client_config, registry_config
from lakehouse.settings import Settings
from lakehouse.source_beat import ChangesDoNotArrive, prove_arrival
from quality.rules import Action, Rule, WhenNull
from streaming import inventory_events, low_stock, queries
from streaming.writer_schemas import NEWEST_VERSIONS, Registry, learn_in_advance

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]
TOPIC = "contracts.inventory.events"
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Sent:
    """What is on the topic: ids of good events, reasons of the others, and the ids of its schemas, oldest first."""

    good: Counter[str]
    bad: Counter[str]
    schema_ids: list[int]


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A topic and a home of this test alone."""
    home: Path = tmp_path_factory.mktemp("contracts")
    admin = AdminClient(client_config(stack))
    admin.create_topics([NewTopic(TOPIC, num_partitions=1)])[TOPIC].result(30)
    return stack.model_copy(update={"home": home, "inventory_topic": TOPIC})


@pytest.fixture(scope="module")
def sent(settings: Settings) -> Sent:
    """Good events of two schema versions, and between them one record for each reason."""
    client = SchemaRegistryClient(registry_config(settings))
    newer = json.loads(inventory_schema())
    newer["fields"].append({"name": "note", "type": ["null", "string"], "default": None})
    without_sku = json.loads(inventory_schema())
    without_sku["fields"] = [one for one in without_sku["fields"] if one["name"] != "sku"]
    versions = [inventory_schema(), json.dumps(newer), json.dumps(without_sku)]
    first, second, third = (client.register_schema(f"{TOPIC}-value", Schema(one, "AVRO")) for one in versions)
    proto = client.register_schema(
        "contracts.proto", Schema('syntax = "proto3"; message M { string a = 1; }', "PROTOBUF")
    )

    def event(number: int, **values: Any) -> dict[str, Any]:
        defaults = {"event_id": f"e{number}", "sequence": number, "on_hand": 100, "occurred_at": NOW}
        return stock_event(**(defaults | values))

    whole = framed(inventory_schema(), event(0), first)
    ahead = event(0, sequence=1_000_000, on_hand=0, occurred_at=NOW + timedelta(days=3653))
    bad: list[tuple[bytes | None, str]] = [
        (None, "null_value"),
        (b"poison", "bad_framing"),
        (b"\x00\x7f\xff\xff\xff" + whole[5:], "unknown_schema_id"),
        (b"\x00" + proto.to_bytes(4, "big") + whole[5:], "unusable_schema"),
        (whole[:-4], "undecodable_body"),
        (whole[:5] + bytes.fromhex("80e89cd70a"), "undecodable_body"),
        (whole + b"\x00", "trailing_bytes"),
        (framed(inventory_schema(), event(0, event_id="x" * 5000), first), "oversize"),
        (framed(without_sku, event(0), third), "missing_field:sku"),
        (framed(inventory_schema(), event(0, sku="", movement="theft"), first), "missing_sku+unknown_movement"),
        (framed(inventory_schema(), ahead, first), "event_time_out_of_range"),
    ]
    good = [framed(inventory_schema(), event(number), first) for number in range(1, 40)]
    good += [framed(newer, event(number, note="n"), second) for number in range(40, 80)]
    # Later than the date ten years ahead, and below the reorder point.
    last = framed(newer, event(80, on_hand=3, note=None), second)
    producer = Producer(client_config(settings))
    for value in [*good[:60], *[value for value, _ in bad], *good[60:], last]:
        producer.produce(TOPIC, value, key=b"P1")
    assert producer.flush(30) == 0
    return Sent(Counter(f"e{n}" for n in range(1, 81)), Counter(reason for _, reason in bad), [first, second, third])


@dataclass(frozen=True)
class Outage:
    """What was seen while the registry was down."""

    batches: int
    waited_seconds: float


def waited() -> float:
    return metrics.STREAMS.get_sample_value("schema_registry_unavailable_seconds") or 0.0


@pytest.fixture(scope="module")
def outage(spark: SparkSession, stack: Settings, settings: Settings, sent: Sent) -> Outage:
    """Start the stream while the registry is down, bring it back, and let the stream catch up."""
    small = settings.model_copy(update={"max_record_bytes": 4096})
    plan = read_plan(stack.home)
    assert plan is not None
    stop(embedded.pid_file(plan, registry_service.NAME), registry_service.SERVICE.stop_signal, 30)
    trouble: list[BaseException] = []

    def catch_up() -> None:
        try:
            queries.catch_up(spark, small, "inventory")
        except BaseException as error:
            trouble.append(error)

    try:
        streaming = threading.Thread(target=catch_up)
        streaming.start()
        deadline = time.monotonic() + 120
        while waited() < 2 and streaming.is_alive():
            assert time.monotonic() < deadline, "the stream never asked the registry"
            time.sleep(0.1)
        seen = Outage(len(list(direct_read.ledger_entries(settings, "inventory_events"))), waited())
    finally:
        embedded.up(stack.home, say=lambda _: None)
        try:
            prove_arrival(stack, timeout_seconds=60)
        except ChangesDoNotArrive:
            # The connector asked the registry as well, for its heartbeat, and failed behind the look that `up` takes.
            embedded.up(stack.home, say=lambda _: None)
            prove_arrival(stack)
    streaming.join(180)
    assert not streaming.is_alive()
    assert trouble == []
    return seen


def test_while_the_registry_is_down_the_stream_waits_and_says_so(outage: Outage) -> None:
    assert outage.batches == 0
    assert outage.waited_seconds >= 2
    assert waited() == 0


def test_every_good_event_is_in_bronze_once(settings: Settings, sent: Sent, outage: Outage) -> None:
    connection = direct_read.connect(settings, "bronze.inventory_events")
    rows = direct_read.rows(connection, 'select event_id from "bronze"."inventory_events"')
    assert Counter(row[0] for row in rows) == sent.good


def test_every_bad_record_is_in_the_quarantine_once_with_its_reasons(
    settings: Settings, sent: Sent, outage: Outage
) -> None:
    connection = direct_read.connect(settings, "ops.quarantine/inventory_events")
    rows = direct_read.rows(connection, 'select reasons from "ops"."quarantine/inventory_events"')
    assert Counter("+".join(row[0]) for row in rows) == sent.bad


def test_the_ledger_accounts_for_every_offset(settings: Settings, sent: Sent, outage: Outage) -> None:
    entries = list(direct_read.ledger_entries(settings, "inventory_events"))
    assert all(entry.balances for entry in entries)
    total = sent.good.total() + sent.bad.total()
    assert sum(entry.rows_read for entry in entries) == total
    assert sum(entry.rows_quarantined for entry in entries) == sent.bad.total()


def test_the_newest_versions_of_a_subject_are_known_before_the_first_batch(
    settings: Settings, sent: Sent, outage: Outage
) -> None:
    known = learn_in_advance([TOPIC], Registry(settings, threading.Event()))
    assert (sorted(known.values), known.keys) == (sent.schema_ids[-NEWEST_VERSIONS:], {})


def test_a_date_ten_years_ahead_moves_nothing_in_the_low_stock_query(
    spark: SparkSession, settings: Settings, sent: Sent, outage: Outage
) -> None:
    with lease.hold("stream-inventory_events", settings) as held:
        query = low_stock.start(spark, settings, Registry(settings, threading.Event()), held)
        try:
            query.processAllAvailable()
            progress = query.lastProgress
        finally:
            query.stop()
    connection = direct_read.connect(settings, "ops.alerts")
    alerts = direct_read.rows(connection, 'select kind, sequence from "ops"."alerts"')
    assert alerts == [("opened", 80)]
    assert progress is not None
    assert (dict(progress["eventTime"]), list(progress["stateOperators"])) == ({}, [])


def test_a_rule_that_stops_commits_nothing_and_names_itself(
    spark: SparkSession, settings: Settings, sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = Rule("nothing_after_79", "sequence < 80", WhenNull.HOLDS, Action.STOP)
    monkeypatch.setattr(inventory_events, "INVENTORY_RULES", (rule,))
    fresh = settings.model_copy(update={"home": tmp_path})
    with pytest.raises(StepFailed, match=r"inventory_events stopped itself\. The row rule nothing_after_79 stops"):
        queries.catch_up(spark, fresh, "inventory")
    assert list(direct_read.ledger_entries(fresh, "inventory_events")) == []
    assert direct_read.connect(fresh, "bronze.inventory_events").sql("from bronze.inventory_events").fetchall() == []
