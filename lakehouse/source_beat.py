"""A heartbeat of our own: a row written to Postgres now and read back from Kafka proves that all earlier commits
are there too.

Debezium reads the write-ahead log in the order of commits with one task, so what was committed before the beat was
sent before it.
"""

from __future__ import annotations

import time

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from lakehouse.errors import LakehouseError, ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.kafka_offsets import end_offsets
from lakehouse.logs import get_logger
from lakehouse.registry_answers import value_decoder
from lakehouse.settings import Settings
from lakehouse.standstill import Standstill
from lakehouse.tables import CAPTURED, HEARTBEATS

log = get_logger(__name__)
TIMEOUT_SECONDS = 120.0
"""So long may no change at all arrive. A large transaction before the beat takes minutes, and is seen to arrive."""
LONGEST_SECONDS = 3600.0
"""So long at most: changes behind the beat are seen to arrive as well, and have no end."""
BEAT = "update heartbeats set beat = beat + 1, beat_at = clock_timestamp() where id = 1 returning beat"


class ChangesDoNotArrive(LakehouseError):
    """A heartbeat that was committed in Postgres did not come out of Kafka."""

    def __init__(self, beat: int, topic: str, seconds: float) -> None:
        super().__init__(
            f"Heartbeat {beat} was committed in Postgres and did not arrive in {topic} within {seconds:.0f} s. The "
            "connector is off, failed, or does not capture that table: `lakehouse source status` says which; nothing "
            "was merged."
        )


def prove_arrival(settings: Settings, timeout_seconds: float = TIMEOUT_SECONDS) -> int:
    """Commit a heartbeat and wait until it is in Kafka; returns its number.

    Raises `ChangesDoNotArrive` when nothing arrives for so long, `ServiceUnreachable` when Postgres, Kafka or the
    schema registry does not answer.
    """
    topic = HEARTBEATS.topic(settings)
    consumer = Consumer(
        client_config(settings)
        | {"group.id": "source-beat", "enable.auto.commit": False, "isolation.level": "read_committed"}
    )
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=15)
        consumer.assign([TopicPartition(topic, 0, end)])
        number = beat(settings)
        _wait_for(consumer, settings, topic, number, timeout_seconds)
    except KafkaException as error:
        raise ServiceUnreachable("Kafka", settings.kafka_bootstrap_servers, f"Topic {topic}: {error}") from None
    finally:
        consumer.close()
    log.info("source_beat_arrived", beat=number)
    return number


def beat(settings: Settings) -> int:
    """Commit a heartbeat in Postgres; returns its number. Raises `ServiceUnreachable`, and `LakehouseError` where the
    source has no row for it.
    """
    try:
        with psycopg.connect(**settings.postgres_conninfo, connect_timeout=10) as connection:  # type: ignore[arg-type]
            row = connection.execute(BEAT).fetchone()
    except psycopg.OperationalError as error:
        address = f"{settings.postgres_host}:{settings.postgres_port}"
        raise ServiceUnreachable(
            "Postgres", address, f"Check LAKEHOUSE_POSTGRES_*: {str(error).splitlines()[0]}"
        ) from None
    if row is None:
        raise LakehouseError(
            "The table heartbeats has no row with id 1: run infra/postgres/ SQL files against the source."
        )
    return int(row[0])


def _wait_for(consumer: Consumer, settings: Settings, topic: str, beat: int, timeout_seconds: float) -> None:
    decode = value_decoder(settings)
    topics = [table.topic(settings) for table in CAPTURED]
    ends, standstill, began = end_offsets(settings, topics), Standstill(timeout_seconds), time.monotonic()
    while not standstill.lasts(ends) and time.monotonic() - began < LONGEST_SECONDS:
        message = consumer.poll(1.0)
        if message is None:
            # What was committed before the beat comes before it, and is finite.
            ends = end_offsets(settings, topics)
            continue
        if message.error() or message.value() is None:
            continue
        change = decode(message.value())
        if change and (change.get("after") or {}).get("beat", -1) >= beat:
            return
    raise ChangesDoNotArrive(beat, topic, time.monotonic() - began)
