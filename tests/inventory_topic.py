"""A topic of inventory events that a test fills, streams and looks at, apart from those of all other tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from kafka_rows import framed, stock_event

from lakehouse import direct_read
from lakehouse.contracts.declared import inventory_schema
from lakehouse.kafka_config import client_config, registry_config
from lakehouse.ledger_entry import Entry
from lakehouse.settings import Settings

TABLE = "inventory_events"
STARTED: list[subprocess.Popen[bytes]] = []
"""What `cli_process` started; ended behind each module of `tests/faults`."""
TEST_BUILD = Path(__file__).parent / "test_build"


class InventoryTopic:
    """The topic `settings.inventory_topic`; remembers what it acknowledged."""

    def __init__(self, settings: Settings, partitions: int = 2) -> None:
        self.settings = settings
        self.good: Counter[str] = Counter()
        self.poison = 0
        self._admin = AdminClient(client_config(settings))
        self._producer = Producer(client_config(settings))
        registry = SchemaRegistryClient(registry_config(settings))
        subject = f"{settings.inventory_topic}-value"
        self.schema_id = registry.register_schema(subject, Schema(inventory_schema(), "AVRO"))
        self.create(partitions)

    @property
    def name(self) -> str:
        return self.settings.inventory_topic

    def create(self, partitions: int = 2) -> None:
        self._admin.create_topics([NewTopic(self.name, num_partitions=partitions)])[self.name].result(timeout=30)

    def delete(self) -> None:
        self._admin.delete_topics([self.name])[self.name].result(timeout=30)

    def trim(self, before: int) -> None:
        """What retention does: partition 0 begins at this offset."""
        for future in self._admin.delete_records([TopicPartition(self.name, 0, before)]).values():
            future.result(timeout=30)

    def send(self, events: int, poison_every: int = 0) -> None:
        """Good events with ids of their own; each `poison_every`-th record besides is no Avro at all."""
        first = sum(self.good.values())
        for number in range(first, first + events):
            event = stock_event(event_id=f"e{number}", sequence=number)
            self._produce(framed(inventory_schema(), event, self.schema_id), f"P{number % 7}")
            self.good[f"e{number}"] += 1
            if poison_every and number % poison_every == 0:
                self._produce(b"poison", f"P{number % 7}")
                self.poison += 1
        assert self._producer.flush(60) == 0

    def send_raw(self, value: bytes | None, key: str = "P1") -> None:
        self._produce(value, key)
        assert self._producer.flush(60) == 0

    def _produce(self, value: bytes | None, key: str) -> None:
        def delivered(error: object, _: object) -> None:
            assert error is None, error

        self._producer.produce(self.name, value, key=key, on_delivery=delivered)
        self._producer.poll(0)


def bronze_ids(settings: Settings) -> Counter[str]:
    connection = direct_read.connect(settings, f"bronze.{TABLE}")
    return Counter(row[0] for row in direct_read.rows(connection, f'select event_id from "bronze"."{TABLE}"'))


def quarantined(settings: Settings) -> Counter[str]:
    """Rejected rows by their reasons; every id must be there once."""
    name = f"ops.quarantine/{TABLE}"
    if direct_read.open_table(settings, name) is None:
        return Counter()
    sql = f"""select quarantine_id, array_to_string(reasons, '+') from "ops"."quarantine/{TABLE}" """
    rows = direct_read.rows(direct_read.connect(settings, name), sql)
    assert len({row[0] for row in rows}) == len(rows), "a rejected row is in the quarantine twice"
    return Counter(row[1] for row in rows)


def entries(settings: Settings) -> list[Entry]:
    return list(direct_read.ledger_entries(settings, TABLE))


def stream_process(settings: Settings, *arguments: str, kill_at: str = "") -> subprocess.Popen[bytes]:
    """`lakehouse stream inventory` as its own process group; its output goes to `<home>/stream.log`."""
    return cli_process(settings, "stream", "inventory", "--short-lived", *arguments, kill_at=kill_at)


def cli_process(settings: Settings, *arguments: str, kill_at: str = "") -> subprocess.Popen[bytes]:
    """A command of the front door, likewise."""
    environment = os.environ | {
        "LAKEHOUSE_HOME": str(settings.home),
        "LAKEHOUSE_INVENTORY_TOPIC": settings.inventory_topic,
        "LAKEHOUSE_CLICK_OBJECTS_TOPIC": settings.click_objects_topic,
        "LAKEHOUSE_LANDING_PREFIX": settings.landing_prefix,
        "LAKEHOUSE_S3_ENDPOINT": settings.s3_endpoint,
        "LAKEHOUSE_S3_ACCESS_KEY": settings.s3_access_key.get_secret_value(),
        "LAKEHOUSE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        "LAKEHOUSE_MAX_OFFSETS_PER_BATCH": str(settings.max_offsets_per_batch),
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "LAKEHOUSE_SCHEMA_REGISTRY_URL": settings.schema_registry_url,
        "LAKEHOUSE_TEST_KILL_AT": kill_at,
    }
    if kill_at:
        environment["PYTHONPATH"] = str(TEST_BUILD)
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "stream.log").open("ab") as log:
        command = [sys.executable, "-m", "lakehouse.cli", *arguments]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    STARTED.append(process)
    return process


def log_of(settings: Settings) -> str:
    return (settings.home / "stream.log").read_text(errors="replace")[-4000:]
