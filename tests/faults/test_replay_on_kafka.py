"""Rejected records of a real topic come back while drivers run, die and start again: each once, at its own offset.

Acknowledged ids = ids in Bronze; what stays bad is open, then discarded; the ledger balances at each moment.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import waiting
from click.testing import CliRunner, Result
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from inventory_topic import InventoryTopic, bronze_ids, cli_process, entries, log_of, stream_process
from kafka_rows import framed, stock_event

from lakehouse import direct_read
from lakehouse.contracts.declared import inventory_schema
from lakehouse.kafka_config import registry_config
from lakehouse.settings import Settings
from streaming import ledger_verify, quarantine_requests, quarantine_standing
from streaming.quarantine_commands import quarantine

# Three starts of Spark, one after the other on the same table.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]
TABLE = "inventory_events"
AHEAD = 60
LATE_IDS = [f"late{number}" for number in range(3)]


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("replayed")
    return stack.model_copy(update={"home": home, "inventory_topic": "replayed.events", "max_offsets_per_batch": 900})


def unknown_id(client: SchemaRegistryClient) -> int:
    """An id that the registry will give out soon, and to nobody else before: others register a few schemas as well."""
    wanted = register_variant(client, 0) + AHEAD
    with pytest.raises(SchemaRegistryError):
        client.get_schema(wanted)
    return wanted


def register_variant(client: SchemaRegistryClient, number: int) -> int:
    """Register the agreed schema under another name, which no reader asks for; returns its id."""
    schema = json.loads(inventory_schema()) | {"name": f"Variant{number}"}
    return int(client.register_schema(f"replayed.variant{number}", Schema(json.dumps(schema), "AVRO")))


def become_known(client: SchemaRegistryClient, wanted: int) -> None:
    given = 0
    for number in range(1, AHEAD + 1):
        given = register_variant(client, number) if given < wanted else given
    assert given == wanted, "somebody else was given the id"


def states(settings: Settings) -> Counter[str]:
    connection = quarantine_standing.connect(settings, TABLE)
    assert connection is not None
    return Counter(row[0] for row in direct_read.rows(connection, "select status from standing"))


def differing(settings: Settings) -> list[str]:
    return [str(one) for one in ledger_verify.verify(settings) if not one.agrees]


def run(settings: Settings, *arguments: str) -> Result:
    outcome = CliRunner().invoke(quarantine, arguments, obj=settings)
    assert outcome.exception is None, log_of(settings)
    return outcome


@pytest.fixture(scope="module")
def topic(settings: Settings) -> InventoryTopic:
    """Good events, poison, and three events of a schema that is registered only after the stream rejected them."""
    topic, client = InventoryTopic(settings), SchemaRegistryClient(registry_config(settings))
    wanted = unknown_id(client)
    topic.send(20, poison_every=10)
    for number, event_id in enumerate(LATE_IDS):
        topic.send_raw(framed(inventory_schema(), stock_event(event_id=event_id, sequence=100 + number), wanted))
    first = stream_process(settings, "--until-caught-up")
    assert first.wait(timeout=240) == 0, log_of(settings)
    become_known(client, wanted)
    return topic


@pytest.fixture(scope="module")
def killed(settings: Settings, topic: InventoryTopic) -> Counter[str]:
    """Where rows stood after a command that had to execute its request itself was killed behind the Bronze commit."""
    assert states(settings) == {"open": topic.poison + len(LATE_IDS)}
    process = cli_process(settings, "quarantine", "replay", kill_at="after_replay_commit")
    assert process.wait(timeout=240) == -signal.SIGKILL, log_of(settings)
    return states(settings)


@pytest.fixture(scope="module")
def driver(settings: Settings, killed: Counter[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A stream that runs for ever; it takes up what the killed command left."""
    assert differing(settings) == []
    process = stream_process(settings)
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0, log_of(settings)


def until(holds: Callable[[], bool], process: subprocess.Popen[bytes], settings: Settings) -> None:
    """Wait for what the process brings about; fails at once when it ends before."""

    def holds_while_it_runs() -> bool:
        assert process.poll() is None, log_of(settings)
        return holds()

    waiting.until(holds_while_it_runs, 240, pause=0.05)


def test_rows_in_bronze_count_as_replayed_although_the_command_died(
    settings: Settings, topic: InventoryTopic, killed: Counter[str]
) -> None:
    assert killed == {"open": topic.poison, "replayed": len(LATE_IDS)}
    assert bronze_ids(settings) == topic.good + Counter(LATE_IDS)
    (left,) = quarantine_requests.pending(settings, TABLE)
    assert left.kind == "replay"


def test_the_next_driver_finishes_the_request_and_doubles_nothing(
    settings: Settings, topic: InventoryTopic, driver: subprocess.Popen[bytes]
) -> None:
    until(lambda: not list(quarantine_requests.pending(settings, TABLE)), driver, settings)
    assert bronze_ids(settings) == topic.good + Counter(LATE_IDS)
    connection = quarantine_standing.connect(settings, TABLE)
    assert connection is not None
    outcomes = direct_read.rows(connection, "select outcome, count(*) from outcomes group by 1")
    assert dict(outcomes) == {"replayed": len(LATE_IDS), "still_bad": topic.poison}


def test_a_running_driver_answers_between_its_batches(
    settings: Settings, topic: InventoryTopic, driver: subprocess.Popen[bytes]
) -> None:
    said = run(settings, "replay", "--stream", TABLE).output
    assert f"{TABLE}: {len(LATE_IDS)} already replayed, {topic.poison} still bad" in said
    said = run(settings, "discard", "--reason", "bad_framing", "--why", "sent by a test").output
    assert f"{TABLE}: {topic.poison} discarded, {len(LATE_IDS)} already replayed" not in said
    assert f"{TABLE}: {topic.poison} discarded" in said
    assert states(settings) == {"replayed": len(LATE_IDS), "discarded": topic.poison}


def test_the_stream_goes_on_where_it_was_and_the_ledger_agrees(
    settings: Settings, topic: InventoryTopic, driver: subprocess.Popen[bytes]
) -> None:
    topic.send(10)
    until(lambda: bronze_ids(settings) == topic.good + Counter(LATE_IDS), driver, settings)
    assert differing(settings) == []
    assert [one.rows_written for one in entries(settings) if one.kind == "replay"] == [len(LATE_IDS)]


def test_rows_that_came_back_kept_their_place(
    settings: Settings, topic: InventoryTopic, driver: subprocess.Popen[bytes]
) -> None:
    connection = direct_read.connect(settings, f"bronze.{TABLE}")
    sql = f"""select count(*), count(distinct (_partition, _offset)), count(_replayed_at),
              count(*) filter (where _replayed_at > _kafka_at) from "bronze"."{TABLE}" """
    rows = topic.good.total() + len(LATE_IDS)
    assert direct_read.rows(connection, sql) == [(rows, rows, len(LATE_IDS), len(LATE_IDS))]
