"""`kill -9` of Kafka Connect between and within transactions: what Debezium sends again carries the same position."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import pytest
import requests
import waiting
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer

from infra.local import stack as supervisor
from infra.local.processes import family_of
from lakehouse.settings import Settings
from lakehouse.tables import CUSTOMERS
from streaming import source_connector

# A stack of its own: no other test has to read the backlog.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(2400)]
until = partial(waiting.until, seconds=600.0, pause=0.01)
TRANSACTIONS, ROWS, KILLS, ATTEMPTS = 2_500, 20, 5, 4
BACKLOG = (TRANSACTIONS + 1) * ROWS
FIRST_ID = 9_200_000


@dataclass(frozen=True)
class Copy:
    """One time that a change was sent."""

    lsn: int
    commit: str | None
    transaction: str
    order: int


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with supervisor.running(tmp_path_factory.mktemp("again-home")) as settings:
        # The connector is stopped behind its snapshot: else the next one would read the backlog in another snapshot,
        # and send none of its transactions.
        until(lambda: end_of(settings, f"{settings.source_topic_prefix}.transaction") > 0)
        yield settings


def is_told(settings: Settings, action: str) -> None:
    url = f"{settings.connect_url}/connectors/{settings.source_connector}/{action}"
    requests.put(url, timeout=60).raise_for_status()


def make_a_backlog(settings: Settings, first: int) -> None:
    """Many small transactions, and one that stays open across them all: its LSNs are lower than those before it."""
    insert = "insert into customers select %s + g, 'Ann', null, 'Wales', now(), now() from generate_series(1, %s) g"
    conninfo: dict[str, Any] = settings.postgres_conninfo
    with psycopg.connect(**conninfo) as open_across, psycopg.connect(**conninfo) as small:
        open_across.execute(insert, (first - ROWS, ROWS))
        for number in range(TRANSACTIONS):
            small.execute(insert, (first + ROWS * number, ROWS))
            small.commit()


def consumer(settings: Settings, isolation: str) -> Consumer:
    names = {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "sent-again"}
    return Consumer(names | {"isolation.level": isolation, "enable.partition.eof": True})


def end_of(settings: Settings, topic: str) -> int:
    reader = consumer(settings, "read_uncommitted")
    try:
        return int(reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1])
    finally:
        reader.close()


def copies(settings: Settings, isolation: str) -> dict[int, list[Copy]]:
    """Customer -> each time that it was sent."""
    decode = AvroDeserializer(SchemaRegistryClient({"url": settings.schema_registry_url}))
    reader, found = consumer(settings, isolation), defaultdict(list)
    reader.assign([TopicPartition(CUSTOMERS.topic(settings), 0, 0)])
    while (message := reader.poll(30)) is not None and message.error() is None:
        change: dict[str, Any] = decode(message.value(), None)  # type: ignore[assignment, arg-type]
        commit, lsn = json.loads(change["source"]["sequence"])
        block = change["transaction"]
        one = Copy(int(lsn), commit, block["id"].split(":")[0], block["total_order"])
        found[change["after"]["customer_id"]].append(one)
    reader.close()
    return dict(found)


def kill_connect(settings: Settings) -> None:
    (pid,) = [one.pid for one in supervisor.status(settings.home) if one.name == "connect"]
    assert pid is not None
    for process in family_of(pid):
        process.kill()
        process.wait(10)


def resend(settings: Settings, attempt: int) -> None:
    """Let the connector work through a backlog, and kill it again and again."""
    is_told(settings, "stop")
    until(lambda: source_connector.ask(settings).states == ("STOPPED",))
    topic = CUSTOMERS.topic(settings)
    before = end_of(settings, topic)
    make_a_backlog(settings, FIRST_ID + attempt * BACKLOG)
    is_told(settings, "resume")
    for number in range(1, KILLS + 1):
        until(lambda number=number: end_of(settings, topic) > before + BACKLOG * number // (KILLS + 1))  # type: ignore[misc]
        kill_connect(settings)
        supervisor.up(settings.home)
    until(lambda: len(copies(settings, "read_committed")) == BACKLOG * (attempt + 1))


def test_a_change_that_is_sent_again_has_the_same_position(settings: Settings) -> None:
    again: dict[int, list[Copy]] = {}
    for attempt in range(ATTEMPTS):
        resend(settings, attempt)
        again = {key: one for key, one in copies(settings, "read_uncommitted").items() if len(one) > 1}
        # A kill may fall between two of Connect's transactions, and then nothing is sent again.
        if again:
            break
    assert again
    assert {key: one for key, one in again.items() if len(set(one)) > 1} == {}
    # And a reader of committed records sees each once.
    assert {len(one) for one in copies(settings, "read_committed").values()} == {1}
