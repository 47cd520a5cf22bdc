"""The alerts topic as windows: what has arrived since the last one, in order, with the offset behind each record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.kafka_offsets import TopicLogs
from lakehouse.settings import Settings
from streaming.deliveries import TIMEOUT_SECONDS, Progress, log_client_error, notifier_id

WINDOW_RECORDS = 200
WAIT_SECONDS = 1.0
GATHER_SECONDS = 0.1
"""How long to go on gathering once a first record is there: a burst becomes one window, one alert is hardly delayed."""


@dataclass(frozen=True)
class Letter:
    """One record of the alerts topic: where it stands and its bytes."""

    partition: int
    offset: int
    value: bytes | None


def waiting(settings: Settings) -> int:
    """How many alerts the notifier is not done with. Raises `ServiceUnreachable` and `TopicMissing`."""
    topic = settings.alerts_topic
    log = TopicLogs(settings).describe([topic])[topic]
    consumer = Consumer(client_config(settings) | {"group.id": notifier_id(settings), "error_cb": log_client_error})
    try:
        done = consumer.committed([TopicPartition(topic, one) for one in log.ends], timeout=TIMEOUT_SECONDS)
    except KafkaException as error:
        raise ServiceUnreachable("Kafka", settings.kafka_bootstrap_servers, f"{error.args[0].str()}.") from None
    finally:
        consumer.close()
    # Below the beginning of the log there is none any more, whatever the notifier has done.
    return sum(max(0, log.ends[one.partition] - max(one.offset, log.begins[one.partition])) for one in done)


class AlertSource:
    """Reads the alerts topic from where the group is done; a context manager that leaves the group's offsets alone."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.alerts_topic
        self._at_end: set[int] = set()
        self._next: dict[int, int] = {}
        self._consumer = Consumer(
            client_config(settings)
            | {
                "group.id": notifier_id(settings),
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "error_cb": log_client_error,
            }
        )
        self._partitions = self._assign(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    @property
    def is_at_end(self) -> bool:
        """Whether every record that was there at the last look has been handed out."""
        return len(self._at_end) == self._partitions

    def window(self) -> list[Letter]:
        """The next records, at most `WINDOW_RECORDS`; empty after `WAIT_SECONDS` without one."""
        letters = self._letters([self._consumer.poll(WAIT_SECONDS)])
        if letters:
            letters += self._letters(self._consumer.consume(WINDOW_RECORDS - 1, GATHER_SECONDS))
        return letters

    def behind(self, letters: Sequence[Letter]) -> Progress:
        """The progress of a consumer that is done with these letters (and all before them)."""
        newest = {letter.partition: letter.offset + 1 for letter in letters}
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in newest.items()]
        return Progress(offsets, self._consumer.consumer_group_metadata())

    def standing(self) -> Progress:
        """The progress of a consumer that is done with all that was handed out, ever."""
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in self._next.items()]
        return Progress(offsets, self._consumer.consumer_group_metadata())

    def _assign(self, settings: Settings) -> int:
        topic = self._consumer.list_topics(self._topic, timeout=TIMEOUT_SECONDS).topics[self._topic]
        if topic.error is not None:
            raise ServiceUnreachable(
                f"The topic {self._topic}", settings.kafka_bootstrap_servers, "`lakehouse up` creates all topics."
            )
        # Assigned, not subscribed: there is one notifier at a time (lease and transactional id), and an hour of waiting
        # for Slack costs no membership of the group.
        asked = [TopicPartition(self._topic, partition) for partition in topic.partitions]
        start = self._consumer.committed(asked, timeout=TIMEOUT_SECONDS)
        self._next = {one.partition: one.offset for one in start if one.offset >= 0}
        for partition in start:
            partition.offset = partition.offset if partition.offset >= 0 else OFFSET_BEGINNING
        self._consumer.assign(start)
        return len(start)

    def _letters(self, records: Sequence[Any]) -> list[Letter]:
        letters = []
        for record in records:
            if record is None:
                continue
            if record.error() is None:
                self._at_end.discard(record.partition())
                letters.append(Letter(record.partition(), record.offset(), record.value()))
                self._next[record.partition()] = record.offset() + 1
            elif record.error().code() == KafkaError._PARTITION_EOF:
                self._at_end.add(record.partition())
            elif record.error().fatal():
                raise KafkaException(record.error())
            else:
                log_client_error(record.error())
        return letters
