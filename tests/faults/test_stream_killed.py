"""A stream that is killed (`kill -9`) in full flow loses and repeats nothing, at the first start after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from kafka_rows import framed, stock_event

from lakehouse import direct_read
from lakehouse.kafka_config import client_config, registry_config
from lakehouse.settings import Settings
from streaming.inventory_events import reader_schema

# The first test pays for the stack and for two starts of Spark.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]
TOPIC = "killed.inventory.events"
EVENTS, BATCH = 12_000, 1_500
POISON_EVERY = 100


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Small batches from a topic of this test alone, into a home of its own."""
    home: Path = tmp_path_factory.mktemp("killed")
    return stack.model_copy(update={"home": home, "inventory_topic": TOPIC, "max_offsets_per_batch": BATCH})


@pytest.fixture(scope="module")
def sent(settings: Settings) -> Counter[str]:
    """Ids of the good events on the topic; every hundredth record is poison."""
    topic = AdminClient(client_config(settings)).create_topics([NewTopic(TOPIC, num_partitions=2)])[TOPIC]
    topic.result(timeout=30)
    schema = reader_schema()
    schema_id = SchemaRegistryClient(registry_config(settings)).register_schema(
        f"{TOPIC}-value", Schema(schema, "AVRO")
    )
    producer = Producer(client_config(settings))
    ids: Counter[str] = Counter()
    for number in range(EVENTS):
        producer.poll(0)
        if number % POISON_EVERY == 0:
            producer.produce(TOPIC, b"poison")
        else:
            event = stock_event(event_id=f"e{number}", sequence=number)
            producer.produce(TOPIC, framed(schema, event, schema_id), key=f"P{number % 7}")
            ids[f"e{number}"] += 1
    assert producer.flush(30) == 0
    return ids


def stream(settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "LAKEHOUSE_HOME": str(settings.home),
        "LAKEHOUSE_INVENTORY_TOPIC": TOPIC,
        "LAKEHOUSE_MAX_OFFSETS_PER_BATCH": str(BATCH),
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "LAKEHOUSE_SCHEMA_REGISTRY_URL": settings.schema_registry_url,
    }
    log = (settings.home / "stream.log").open("ab")
    command = [sys.executable, "-m", "lakehouse.cli", "stream", "inventory", *arguments]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def bronze_ids(settings: Settings) -> Counter[str]:
    connection = direct_read.connect(settings, "bronze.inventory_events")
    return Counter(row[0] for row in direct_read.rows(connection, 'select event_id from "bronze"."inventory_events"'))


def quarantined(settings: Settings) -> int:
    connection = direct_read.connect(settings, "ops.quarantine/inventory_events")
    return int(direct_read.rows(connection, 'select count(*) from "ops"."quarantine/inventory_events"')[0][0])


def wait_for_batches(settings: Settings, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while len(list(direct_read.ledger_entries(settings, "inventory_events"))) < count:
        assert process.poll() is None, (settings.home / "stream.log").read_text()[-3000:]
        assert time.monotonic() < deadline, "the stream committed no batch in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def killed(settings: Settings, sent: Counter[str]) -> int:
    """Kill the driver in the middle, then let a new one catch up; returns the batches that were there at the kill."""
    process = stream(settings)
    wait_for_batches(settings, 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    batches = len(list(direct_read.ledger_entries(settings, "inventory_events")))
    _forget_newest_commit(settings)
    assert stream(settings, "--until-caught-up").wait(timeout=300) == 0, (settings.home / "stream.log").read_text()[
        -3000:
    ]
    return batches


def _forget_newest_commit(settings: Settings) -> None:
    """Put the checkpoint where a crash between Delta's commit and Spark's own leaves it: the batch will be run
    again.
    """
    folder = settings.home / "checkpoints" / "bronze" / "inventory_events" / "commits"
    numbers = [int(file.name) for file in folder.iterdir() if file.name.isdigit()]
    newest = max(numbers)
    (folder / str(newest)).unlink()
    (folder / f".{newest}.crc").unlink(missing_ok=True)


def test_the_kill_came_in_full_flow(killed: int) -> None:
    assert 2 <= killed < EVENTS // BATCH


def test_every_event_is_in_bronze_once(settings: Settings, sent: Counter[str], killed: int) -> None:
    assert bronze_ids(settings) == sent


def test_every_poison_record_is_in_the_quarantine_once(settings: Settings, killed: int) -> None:
    assert quarantined(settings) == EVENTS // POISON_EVERY


def test_the_ledger_covers_every_offset_once(settings: Settings, killed: int) -> None:
    entries = list(direct_read.ledger_entries(settings, "inventory_events"))
    assert all(entry.balances for entry in entries)
    spans = sorted((one.partition, one.from_offset, one.to_offset) for entry in entries for one in entry.ranges)
    for before, after in pairwise(spans):
        assert before[0] != after[0] or before[2] == after[1], f"gap or overlap between {before} and {after}"
    assert sum(entry.rows_read for entry in entries) == EVENTS
