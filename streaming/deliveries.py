"""The memory of the notifier: what became of each alert, in a compacted Kafka topic.

Key: alert_id. Value: `{"state": ..., "at": ...}` and, for parked alerts, the reason, whether Slack may have it all the
same, and the alert itself. The memory is kept next to the alerts, not in a file, so that the notifier can move to
another machine and still knows what it sent.
A state and the consumer's offset are written in one transaction: neither is ever there without the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from lakehouse.errors import LakehouseError, ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.logs import get_logger
from lakehouse.settings import Settings

log = get_logger(__name__)

TOPIC_SUFFIX = ".deliveries"
TIMEOUT_SECONDS = 30.0
TRIES = 3
SHUT_OUT = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


class State(StrEnum):
    """What became of an alert."""

    SENDING = "sending"
    """About to be posted. Still so at a start: nobody knows whether Slack has it."""
    WAITING = "waiting"
    """Slack certainly did not take it yet."""
    SENT = "sent"
    REJECTED = "rejected"
    """Parked: Slack refused it, or the record is not an alert. Kept with its reason."""
    SKIPPED = "skipped"
    """No webhook was set; the message was logged."""


def notifier_id(settings: Settings) -> str:
    """Consumer group, and the transactional id by which a newer notifier of these alerts shuts out an older one."""
    return f"lakehouse-notifier.{settings.alerts_topic}"


FINISHED = (State.SENT, State.REJECTED, State.SKIPPED)


class NotifierReplaced(LakehouseError):
    """A newer notifier took over; this one must not send any more."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"The broker shut this notifier out ({found}): expected to be the only one. Leave it to the newer."
        )


@dataclass(frozen=True)
class Progress:
    """How far a consumer is done: the next offset of each partition, and the metadata of its group."""

    offsets: list[Any]
    group: Any


class Deliveries:
    """What became of each alert. Opened once per process; nothing is open between two calls."""

    def __init__(self, settings: Settings) -> None:
        self.topic = settings.alerts_topic + TOPIC_SUFFIX
        self._entries: dict[str, dict[str, Any]] = {}
        config, name = client_config(settings), notifier_id(settings)
        self._producer = Producer(
            config | {"transactional.id": name, "transaction.timeout.ms": 60_000, "error_cb": log_client_error}
        )
        try:
            # First: it ends what a killed notifier left open, which would hide the newest entries from the reader.
            self._producer.init_transactions(TIMEOUT_SECONDS)
        except KafkaException as error:
            raise ServiceUnreachable(
                "Kafka", settings.kafka_bootstrap_servers, f"{error.args[0].str()}. Start it (`lakehouse up`)."
            ) from None
        self._read_all(config | {"group.id": f"{name}.memory"})

    def state(self, alert_id: str) -> State | None:
        """The newest state of an alert, or None for one that was never seen."""
        entry = self._entries.get(alert_id)
        return State(entry["state"]) if entry else None

    def parked(self) -> list[tuple[dict[str, Any], bool]]:
        """The alerts that Slack refused (or whose sending again was interrupted), as JSON objects, oldest first, each
        with whether Slack may have it from a try before it was refused.
        """
        entries = sorted(self._entries.values(), key=lambda entry: str(entry["at"]))
        return [(entry["alert"], bool(entry.get("may_repeat"))) for entry in entries if "alert" in entry]

    def record(self, entries: Mapping[str, Mapping[str, Any]], done: Progress | None = None) -> None:
        """Write the states of some alerts and, where given, how far the consumer is done, in one transaction.

        `entries`: alert_id -> fields, of which `state` is needed. Raises `NotifierReplaced` when a newer notifier runs,
        and `ServiceUnreachable` for a transaction that failed for good; then nothing of it is visible.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        stamped = {alert_id: {"at": at} | dict(fields) for alert_id, fields in entries.items()}
        for tries_left in reversed(range(TRIES)):
            try:
                self._write(stamped, done)
                break
            except KafkaException as error:
                self._undo(error, tries_left)
        self._entries |= stamped

    def _write(self, entries: Mapping[str, Mapping[str, Any]], done: Progress | None) -> None:
        self._producer.begin_transaction()
        for alert_id, entry in entries.items():
            self._producer.produce(self.topic, key=alert_id, value=json.dumps(entry))
        if done is not None:
            self._producer.send_offsets_to_transaction(done.offsets, done.group, TIMEOUT_SECONDS)
        self._producer.commit_transaction(TIMEOUT_SECONDS)

    def _undo(self, error: KafkaException, tries_left: int) -> None:
        cause = error.args[0]
        if cause.code() in SHUT_OUT:
            raise NotifierReplaced(cause.str()) from None
        if not cause.txn_requires_abort() or not tries_left:
            raise ServiceUnreachable("Kafka", self.topic, f"{cause.str()}. Start the notifier again.") from None
        self._producer.abort_transaction(TIMEOUT_SECONDS)

    def _read_all(self, config: Mapping[str, Any]) -> None:
        reader = Consumer(
            dict(config)
            | {
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "error_cb": log_client_error,
            }
        )
        try:
            start = reader.list_topics(self.topic, timeout=TIMEOUT_SECONDS).topics[self.topic]
            if start.error is not None:
                raise ServiceUnreachable(f"The topic {self.topic}", "the broker", "`lakehouse up` creates all topics.")
            reader.assign([TopicPartition(self.topic, partition, 0) for partition in start.partitions])
            self._replay(reader, len(start.partitions))
        finally:
            reader.close()

    def _replay(self, reader: Any, partitions: int) -> None:
        open_partitions = set(range(partitions))
        while open_partitions:
            record = reader.poll(TIMEOUT_SECONDS)
            if record is None:
                raise ServiceUnreachable("Kafka", self.topic, "No answer while reading the deliveries; try again.")
            if record.error() is None:
                self._remember(record.key(), record.value())
            elif record.error().code() == KafkaError._PARTITION_EOF:
                open_partitions.discard(record.partition())
            elif record.error().fatal() or not record.error().retriable():
                raise KafkaException(record.error())

    def _remember(self, key: bytes | None, value: bytes | None) -> None:
        alert_id = (key or b"").decode("utf-8", "replace")
        if value is None:
            self._entries.pop(alert_id, None)
        else:
            self._entries[alert_id] = json.loads(value)


def log_client_error(error: Any) -> None:
    """Callback of the Kafka client for trouble that it goes on retrying by itself."""
    log.warning("kafka_client_trouble", code=error.name(), reason=error.str())
