"""Reads back what is on a topic: which of the shop's own records arrived, and what Debezium's look like."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.settings import Settings

HEADER = "shop_entry"
"""Names account, entry and index of each record that the shop produces; see `bookkeeping`."""
_ANSWER_SECONDS = 15
_READ_SECONDS = 30


class TopicReader:
    """Reads from given offsets to the end that a topic has now; commits nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._config = client_config(settings) | {"log_level": "2"}

    def ends(self, topic: str) -> dict[int, int]:
        """The offset after the last record, by partition. Raises `ServiceUnreachable`, also without such a topic."""
        consumer = self._consumer()
        address = self._settings.kafka_bootstrap_servers
        try:
            partitions = consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic].partitions
            ends = {number: self._end(consumer, TopicPartition(topic, number)) for number in partitions}
        except KafkaException:
            raise ServiceUnreachable("Kafka", address, "Run `lakehouse up` first.") from None
        finally:
            consumer.close()
        if not ends:
            raise ServiceUnreachable(f"The topic {topic}", address, "`lakehouse up` makes it.")
        return ends

    def arrived_records(self, topic: str, start: dict[int, int], prefix: str) -> list[int]:
        """Indexes of the records with this header prefix, from the offsets `start` on, sorted, each once."""
        marks = (_mark(message) for message in self._records(topic, start))
        return sorted({int(mark.removeprefix(prefix)) for mark in marks if mark and mark.startswith(prefix)})

    def a_real_change(self, topic: str, wait_seconds: float) -> tuple[bytes, bytes]:
        """Key and value of one change that Debezium published, for making bad ones of it.

        Raises `ServiceUnreachable` when none appears within `wait_seconds`.
        """
        deadline = time.monotonic() + wait_seconds
        while time.monotonic() < deadline:
            for message in self._records(topic, {}):
                key, value = message.key(), message.value()
                if isinstance(key, bytes) and isinstance(value, bytes) and _mark(message) is None:
                    return key, value
            time.sleep(0.5)
        cure = f"No change is on the topic {topic}: look at `lakehouse logs connect`."
        raise ServiceUnreachable("Debezium", self._settings.connect_url, cure)

    def _records(self, topic: str, start: dict[int, int]) -> Iterator[Message]:
        """All records from `start` (default: the beginning) to the end that the topic has now."""
        ends = self.ends(topic)
        waiting = {partition for partition, end in ends.items() if end > start.get(partition, 0)}
        deadline = time.monotonic() + _READ_SECONDS
        consumer = self._consumer()
        try:
            consumer.assign([TopicPartition(topic, partition, start.get(partition, 0)) for partition in waiting])
            while waiting:
                if time.monotonic() > deadline:
                    address = self._settings.kafka_bootstrap_servers
                    raise ServiceUnreachable("Kafka", address, f"{topic} could not be read to its end; try again.")
                message = consumer.poll(1.0)
                if message is None:
                    continue
                if message.error() is None:
                    yield message
                else:
                    waiting.discard(_ended_partition(message))
        finally:
            consumer.close()

    @staticmethod
    def _end(consumer: Consumer, partition: TopicPartition) -> int:
        offsets = consumer.get_watermark_offsets(partition, timeout=_ANSWER_SECONDS)
        if offsets is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return int(offsets[1])

    def _consumer(self) -> Consumer:
        return Consumer(
            self._config
            | {
                "group.id": "shop-account",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                # An open transaction of Debezium must not hide our own records behind it.
                "isolation.level": "read_uncommitted",
            }
        )


def _ended_partition(message: Message) -> int:
    """The partition whose end this event tells; anything else that is no record is an error."""
    error = message.error()
    partition = message.partition()
    if partition is None or (error is not None and error.code() != KafkaError._PARTITION_EOF):
        raise KafkaException(error)
    return partition


def _mark(message: Message) -> str | None:
    """The shop's own header of a record; None where it has none."""
    headers = message.headers()
    value = dict(headers).get(HEADER) if headers else None
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
