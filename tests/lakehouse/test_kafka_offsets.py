"""Whether Kafka answers is found out before a driver is started, and what a second client can't count it does not."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError

from lakehouse import kafka_offsets
from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_offsets import RecordsNotReadable, TopicWithoutId
from lakehouse.ledger_entry import OffsetRange
from lakehouse.settings import Settings


def test_a_broker_that_is_down_is_one_sentence_with_the_cure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_offsets, "TIMEOUT_SECONDS", 0.5)
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody_listens.getsockname()[1]}"
        down = settings.model_copy(update={"kafka_bootstrap_servers": address})
        with pytest.raises(
            ServiceUnreachable, match=rf"Kafka does not answer at {address}\. Start it \(`lakehouse up`"
        ):
            kafka_offsets.require_kafka(down)


@pytest.mark.integration
@pytest.mark.slow
def test_a_topic_without_an_id_is_refused(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = kafka_offsets.TopicLogs(stack)
    known = logs.describe([stack.inventory_topic])[stack.inventory_topic]
    # As a broker of before 2.8 answers for every topic.
    monkeypatch.setattr(kafka_offsets, "NO_ID", known.topic_id)
    with pytest.raises(TopicWithoutId, match=r"gives the topic inventory\.events no id"):
        logs.describe([stack.inventory_topic])


class Told:
    """What a poll gives: a record, or an error."""

    def __init__(self, offset: int | None, error: int | None = None) -> None:
        self.offset = lambda: offset
        self.error = lambda: None if error is None else KafkaError(error, "as the client says")


class Consumer:
    """Hands out what it was given, then nothing."""

    def __init__(self, messages: Sequence[Told]) -> None:
        self._messages = list(messages)

    def assign(self, _: Any) -> None:
        return

    def poll(self, _: float) -> Told | None:
        return self._messages.pop(0) if self._messages else None


def counted(settings: Settings, *messages: Told) -> dict[OffsetRange, int]:
    consumer: Any = Consumer(messages)
    ranges = [OffsetRange("events", 0, 0, 4), OffsetRange("events", 0, 6, 9)]
    return kafka_offsets._count(consumer, ranges, settings)


def test_each_record_counts_in_its_range(settings: Settings) -> None:
    found = counted(settings, Told(0), Told(3), Told(4), Told(6), Told(8), Told(9))
    assert list(found.values()) == [2, 2]


def test_a_client_that_gets_over_a_lost_connection_counts_on(settings: Settings) -> None:
    lost = Told(None, KafkaError._TRANSPORT)
    assert list(counted(settings, Told(0), lost, Told(7), Told(9, KafkaError._PARTITION_EOF)).values()) == [1, 1]


@pytest.mark.parametrize("error", [KafkaError._AUTO_OFFSET_RESET, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_records_that_are_gone_or_forbidden_are_not_counted_as_none(settings: Settings, error: int) -> None:
    with pytest.raises(RecordsNotReadable, match=r"The records of events/0 0-4 can't be counted: as the client says"):
        counted(settings, Told(0), Told(None, error), Told(9, KafkaError._PARTITION_EOF))


def test_a_broker_that_falls_silent_is_waited_for_no_longer_than_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_offsets, "TIMEOUT_SECONDS", 0.05)
    with pytest.raises(ServiceUnreachable):
        counted(settings, Told(0))
