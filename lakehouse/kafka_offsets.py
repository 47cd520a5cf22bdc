"""What the broker holds of a topic: its id, where its partitions begin and end, how many records a range has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from lakehouse.errors import LakehouseError, ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.ledger_entry import OffsetRange
from lakehouse.settings import Settings

TIMEOUT_SECONDS = 15.0
TRIES = 20
NO_ID = "A" * 22
"""Sixteen bytes of zero in base 64, which no topic has."""
RETRIED = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT)
"""What a consumer tells and gets over by itself, if the broker comes back."""


class TopicMissing(LakehouseError):
    """A topic that a stream reads does not exist."""

    def __init__(self, topics: Sequence[str], address: str) -> None:
        super().__init__(
            f"The broker at {address} has no topic {', '.join(topics)}. Create it (infra/kafka/topics.yaml lists "
            "all), or correct its name in the settings."
        )


class TopicWithoutId(LakehouseError):
    """A broker does not tell a topic from one that was made again under its name."""

    def __init__(self, topic: str, address: str) -> None:
        super().__init__(
            f"The broker at {address} gives the topic {topic} no id, so one that was deleted and made again could not "
            "be told from the old one, and its records would be lost. Kafka gives ids since 2.8: use such a broker."
        )


class RecordsNotReadable(LakehouseError):
    """The broker answers and does not hand out the records that are to be counted."""

    def __init__(self, wanted: OffsetRange, error: KafkaError) -> None:
        super().__init__(
            f"The records of {wanted} can't be counted: {error.str()}. If this client may not read the topic any more, "
            "give it the right back. If retention has removed them meanwhile, start again: what is gone is then left "
            "out, or told as a gap."
        )


@dataclass(frozen=True)
class TopicLog:
    """One topic: the broker's own id of it, and per partition the first offset and the one after the last that a reader
    of committed records may see.
    """

    topic_id: str
    begins: dict[int, int]
    ends: dict[int, int]


class TopicLogs:
    """Asks the broker; waits while it elects leaders or restarts."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.kafka_bootstrap_servers
        self._admin = AdminClient({**client_config(settings), "log_level": 3})

    def describe(self, topics: Sequence[str]) -> dict[str, TopicLog]:
        """The state of each topic now. Raises `TopicMissing`, `TopicWithoutId`, or `ServiceUnreachable` when nobody
        answers.
        """
        for tries_left in reversed(range(TRIES)):
            try:
                return self._ask(topics)
            except KafkaException as error:
                found = error.args[0]
                if found.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and tries_left < TRIES - 3:
                    raise TopicMissing(self._missing(topics), self._address) from None
                if not tries_left:
                    raise _unreachable(self._address, error) from None
                time.sleep(1.0)
        raise AssertionError("not reached")

    def _missing(self, topics: Sequence[str]) -> list[str]:
        known = self._admin.list_topics(timeout=TIMEOUT_SECONDS).topics
        return [topic for topic in topics if topic not in known] or list(topics)

    def _ask(self, topics: Sequence[str]) -> dict[str, TopicLog]:
        described = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=TIMEOUT_SECONDS)
        found = {topic: future.result() for topic, future in described.items()}
        if nameless := [topic for topic, about in found.items() if str(about.topic_id) == NO_ID]:
            raise TopicWithoutId(nameless[0], self._address)
        places = [TopicPartition(topic, one.id) for topic, about in found.items() for one in about.partitions]
        begins = self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {
            topic: TopicLog(
                str(about.topic_id),
                {one.id: begins[topic, one.id] for one in about.partitions},
                {one.id: ends[topic, one.id] for one in about.partitions},
            )
            for topic, about in found.items()
        }

    def _offsets(self, places: Sequence[TopicPartition], which: Any) -> dict[tuple[str, int], int]:
        committed = IsolationLevel.READ_COMMITTED
        asked = dict.fromkeys(places, which)
        answers = self._admin.list_offsets(asked, isolation_level=committed, request_timeout=TIMEOUT_SECONDS)
        return {(one.topic, one.partition): answer.result().offset for one, answer in answers.items()}


def require_kafka(settings: Settings) -> None:
    """Raise `ServiceUnreachable` unless a broker answers: a driver starts for many seconds and asks for minutes."""
    try:
        AdminClient({**client_config(settings), "log_level": 0}).list_topics(timeout=TIMEOUT_SECONDS)
    except KafkaException as error:
        raise _unreachable(settings.kafka_bootstrap_servers, error) from None


def _unreachable(address: str, error: KafkaException) -> ServiceUnreachable:
    cure = f"Start it (`lakehouse up`), or check LAKEHOUSE_KAFKA_*. The client says: {error.args[0].str()}."
    return ServiceUnreachable("Kafka", address, cure)


def end_offsets(settings: Settings, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) -> next offset. Raises as `TopicLogs.describe` does."""
    logs = TopicLogs(settings).describe(topics)
    return {(topic, partition): end for topic, log in logs.items() for partition, end in log.ends.items()}


def committed_records(settings: Settings, ranges: Iterable[OffsetRange]) -> dict[OffsetRange, int]:
    """How many records each range holds for a reader of committed records; counted by a client of its own.

    Ranges of one partition must not overlap. Offsets of transaction markers, of aborted transactions and of compacted
    records count nothing. Raises `ServiceUnreachable` when the broker stops answering, and `RecordsNotReadable`.
    """
    by_partition: dict[tuple[str, int], list[OffsetRange]] = {}
    for one in ranges:
        by_partition.setdefault((one.topic, one.partition), []).append(one)
    consumer = Consumer(
        client_config(settings)
        | {
            "group.id": f"witness-{uuid4()}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # Else it goes on at the end of the log when a range begins before its beginning, and counts nothing.
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
        }
    )
    try:
        counts: dict[OffsetRange, int] = {}
        for members in by_partition.values():
            counts |= _count(consumer, sorted(members, key=lambda one: one.from_offset), settings)
        return counts
    finally:
        consumer.close()


def _count(consumer: Consumer, ranges: Sequence[OffsetRange], settings: Settings) -> dict[OffsetRange, int]:
    """One walk through a partition, from the first range (they are sorted) to the end of the last."""
    counts = dict.fromkeys(ranges, 0)
    waiting = [one for one in ranges if one.size]
    if not waiting:
        return counts
    consumer.assign([TopicPartition(waiting[0].topic, waiting[0].partition, waiting[0].from_offset)])
    while True:
        message = _next(consumer, waiting[0], settings)
        is_end, offset = message.error() is not None, message.offset() or 0
        while waiting and offset >= waiting[0].to_offset:
            waiting.pop(0)
        if is_end or not waiting:
            return counts
        if offset >= waiting[0].from_offset:
            counts[waiting[0]] += 1


def _next(consumer: Consumer, wanted: OffsetRange, settings: Settings) -> Message:
    """The next record, or the end of the partition: a message whose error says so."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        # One at a time: asked for many, the client waits for all of them, or for the whole of its timeout.
        message = consumer.poll(left)
        error = message.error() if message else None
        if message is None or (error is not None and error.code() in RETRIED):
            continue
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise RecordsNotReadable(wanted, error)
        return message
    raise ServiceUnreachable("Kafka", settings.kafka_bootstrap_servers, "Is it up? (`lakehouse status`)")
