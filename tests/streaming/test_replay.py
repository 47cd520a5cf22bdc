"""Rejected rows come back once, through the same transform, whatever dies in between; the others keep their history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest
from click.testing import CliRunner
from kafka_rows import frame_of, framed, stock_event
from pyspark.sql import SparkSession
from rejected_rows import KnownIds, LeaseOfTest, ask, bronze, positions, reject

from lakehouse import direct_read, metrics
from lakehouse.contracts.declared import inventory_schema
from lakehouse.errors import LeaseLost
from lakehouse.settings import Settings
from streaming import (
    inventory_events,
    ledger_verify,
    quarantine_counter,
    quarantine_desk,
    quarantine_requests,
    quarantine_standing,
    replay,
)
from streaming.bronze_writer import BronzeStream
from streaming.quarantine_commands import quarantine
from streaming.quarantine_requests import Answer, Kind, Request
from streaming.writer_schemas import Registry

# Each test makes tables of its own and commits to three of them several times.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCHEMA = inventory_schema()
LATER_KNOWN, NEVER_GOOD = framed(SCHEMA, stock_event(), schema_id=7), b"poison"
NOBODY_KNOWS, KNOWS_7 = KnownIds(), KnownIds({7: SCHEMA})
TABLE = "inventory_events"


class DriverDied(BaseException):
    """Stands for the end of the process at a kill point."""


@pytest.fixture
def stream(spark: SparkSession, settings: Settings) -> BronzeStream:
    """Two records of a schema that nobody knows yet, and one that is no Avro."""
    stream = inventory_events.stream(settings)
    reject(spark, settings, stream, frame_of(spark, [LATER_KNOWN, NEVER_GOOD, LATER_KNOWN]))
    return stream


@pytest.fixture
def execute(spark: SparkSession, settings: Settings, stream: BronzeStream) -> Callable[..., Answer]:
    def run(request: Request, registry: KnownIds = KNOWS_7, lost: str = "") -> Answer:
        return replay.execute(spark, settings, stream, cast(Registry, registry), request, LeaseOfTest(lost))

    return run


def standing(settings: Settings, columns: str) -> list[tuple[Any, ...]]:
    connection = quarantine_standing.connect(settings, TABLE)
    assert connection is not None
    return direct_read.rows(connection, f"select {columns} from standing order by _offset")


def replays(settings: Settings) -> list[tuple[int, int]]:
    found = direct_read.ledger_entries(settings, TABLE)
    return [(one.rows_read, one.rows_written) for one in found if one.kind == "replay" and one.balances]


def differing(settings: Settings) -> list[str]:
    return [str(one) for one in ledger_verify.verify(settings, with_broker=False) if not one.agrees]


def test_a_row_that_is_good_by_now_lands_once_at_its_own_place(
    spark: SparkSession, settings: Settings, stream: BronzeStream, execute: Callable[..., Answer]
) -> None:
    before = positions(spark, settings, stream)
    assert execute(ask(stream), NOBODY_KNOWS).counts == {"still_bad": 3}
    request = ask(stream)
    first = execute(request)
    assert first.counts == {"replayed": 2, "still_bad": 1}
    assert execute(request).counts == first.counts
    assert execute(ask(stream)).counts == {"still_bad": 1, "already_replayed": 2}
    rows = bronze(spark, settings, stream)
    assert [(row["_topic"], row["_partition"], row["_offset"], row["event_id"]) for row in rows] == [
        ("topic", 0, 0, "e1"),
        ("topic", 0, 2, "e1"),
    ]
    assert all(row["_replayed_at"] == row["_ingested_at"] > row["_kafka_at"] for row in rows)
    assert positions(spark, settings, stream) == before
    assert replays(settings) == [(3, 2)]
    assert standing(settings, "status, reasons_now, attempts") == [
        ("replayed", ["unknown_schema_id"], 2),
        ("open", ["bad_framing"], 3),
        ("replayed", ["unknown_schema_id"], 2),
    ]
    assert differing(settings) == []


@pytest.mark.parametrize("point", ["before_replay_commit", "after_replay_commit", "after_outcomes_commit"])
def test_a_driver_that_dies_leaves_nothing_out_and_nothing_twice(
    point: str,
    spark: SparkSession,
    settings: Settings,
    stream: BronzeStream,
    execute: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(reached: str) -> None:
        if reached == point:
            raise DriverDied

    request = ask(stream)
    with monkeypatch.context() as patch:
        patch.setattr(replay, "reach", die)
        with pytest.raises(DriverDied):
            execute(request)
    assert differing(settings) == []
    assert execute(request).counts == {"replayed": 2, "still_bad": 1}
    assert [row["_offset"] for row in bronze(spark, settings, stream)] == [0, 2]
    assert Counter(row[0] for row in standing(settings, "status")) == {"replayed": 2, "open": 1}
    assert differing(settings) == []


def test_a_dry_run_says_what_would_become_of_each_row_and_writes_nothing(
    spark: SparkSession, settings: Settings, stream: BronzeStream, execute: Callable[..., Answer]
) -> None:
    answer = execute(ask(stream, is_dry_run=True))
    assert answer.counts == {"replayed": 2, "still_bad": 1}
    assert bronze(spark, settings, stream) == []
    assert standing(settings, "status, attempts") == [("open", 0)] * 3


def test_what_is_discarded_does_not_come_back(
    settings: Settings, stream: BronzeStream, execute: Callable[..., Answer]
) -> None:
    assert execute(ask(stream, "discard", why="a test", where=["reason=bad_framing"])).counts == {"discarded": 1}
    assert execute(ask(stream)).counts == {"replayed": 2, "already_discarded": 1}
    assert [row[0] for row in standing(settings, "status")] == ["replayed", "discarded", "replayed"]
    assert differing(settings) == []


def test_ids_and_conditions_choose_rows(
    settings: Settings, stream: BronzeStream, execute: Callable[..., Answer]
) -> None:
    ids = [row[0] for row in standing(settings, "quarantine_id")]
    where = ["offset>=1", "arrived_at<2026-11-24", "topic=topic", "reason!=bad_framing"]
    assert [row["quarantine_id"] for row in execute(ask(stream, where=where)).rows] == [ids[2]]
    assert [row["quarantine_id"] for row in execute(ask(stream, ids=ids[:1])).rows] == [ids[0]]
    assert execute(ask(stream, where=["topic=' or 1=1 --"])).counts == {}


@pytest.mark.parametrize("kind", ["replay", "discard"])
def test_whoever_lost_the_lease_decides_nothing(
    spark: SparkSession, settings: Settings, stream: BronzeStream, execute: Callable[..., Answer], kind: Kind
) -> None:
    request = ask(stream, kind=kind)
    with pytest.raises(LeaseLost, match="taken over"):
        execute(request, lost="taken over")
    assert bronze(spark, settings, stream) == []
    assert execute(request).counts == ({"replayed": 2, "still_bad": 1} if kind == "replay" else {"discarded": 3})


def test_rows_of_a_batch_that_was_cut_off_are_left_to_the_stream(spark: SparkSession, settings: Settings) -> None:
    stream = inventory_events.stream(settings)
    reject(spark, settings, stream, frame_of(spark, [LATER_KNOWN]), is_cut_off=True)
    assert replay.execute(spark, settings, stream, cast(Registry, KNOWS_7), ask(stream), LeaseOfTest()).counts == {}
    assert bronze(spark, settings, stream) == []


def test_the_owner_answers_what_waits_and_says_what_failed(
    spark: SparkSession, settings: Settings, stream: BronzeStream
) -> None:
    good, wrong = ask(stream), ask(stream, where=["nonsense"])
    for request in (good, wrong):
        quarantine_requests.submit(settings, request)
    listed = CliRunner().invoke(quarantine, ["list"], obj=settings).output
    assert listed.count("waits: replay of inventory_events, asked for by tester") == 2
    assert quarantine_desk.serve(spark, settings, [stream], cast(Registry, KNOWS_7), {TABLE: LeaseOfTest()}) == 2
    answer = quarantine_requests.take_answer(settings, good)
    assert answer is not None
    assert answer.counts == {"replayed": 2, "still_bad": 1}
    refused = quarantine_requests.take_answer(settings, wrong)
    assert refused is not None
    assert refused.trouble.startswith("The condition 'nonsense' can't be read")
    assert list(quarantine_requests.pending(settings, TABLE)) == []


def test_who_interrupts_the_command_takes_the_request_back(
    settings: Settings, stream: BronzeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        assert len(list(quarantine_requests.pending(settings, TABLE))) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(quarantine_counter, "_answers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(quarantine_counter.ask(settings, "replay", (), (), None, "tester"))
    assert list(quarantine_requests.pending(settings, TABLE)) == []


def test_the_page_shows_what_is_open_and_since_when(
    settings: Settings, stream: BronzeStream, execute: Callable[..., Answer]
) -> None:
    def shown(name: str, reason: str) -> float | None:
        return metrics.STREAMS.get_sample_value(name, {"stream": TABLE, "reason": reason})

    quarantine_desk.measure(settings, [TABLE])
    assert (shown("quarantine_open_rows", "unknown_schema_id"), shown("quarantine_open_rows", "bad_framing")) == (2, 1)
    assert shown("quarantine_oldest_open_timestamp_seconds", "bad_framing") == 1795435200
    execute(ask(stream))
    quarantine_desk.measure(settings, [TABLE])
    assert (shown("quarantine_open_rows", "unknown_schema_id"), shown("quarantine_open_rows", "bad_framing")) == (0, 1)
    assert shown("quarantine_oldest_open_timestamp_seconds", "unknown_schema_id") is None


def test_a_row_shows_where_it_stands_and_each_attempt(
    settings: Settings, stream: BronzeStream, execute: Callable[..., Answer]
) -> None:
    execute(ask(stream), NOBODY_KNOWS)
    execute(ask(stream))
    quarantine_id = standing(settings, "quarantine_id")[0][0]
    shown = CliRunner().invoke(quarantine, ["show", quarantine_id], obj=settings).output
    history = [line.split("  ")[1].split(" (")[0] for line in shown.splitlines() if line.startswith("20")]
    assert history == ["rejected: unknown_schema_id", "still bad: unknown_schema_id", "replayed: in Bronze"]
    assert ["status", "'replayed'"] in [line.split() for line in shown.splitlines()]
    listed = CliRunner().invoke(quarantine, ["list"], obj=settings).output.splitlines()
    assert [line.split()[1:5] for line in listed[1:]] == [
        ["bad_framing", "1", "0", "0"],
        ["unknown_schema_id", "0", "2", "0"],
    ]
