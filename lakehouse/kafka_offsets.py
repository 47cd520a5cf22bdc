"""Where topics end now, as a reader of committed records sees it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.settings import Settings

TIMEOUT_SECONDS = 15.0
TRIES = 5


def end_offsets(settings: Settings, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) -> next offset. Raises `ServiceUnreachable` when the broker or a topic does not answer."""
    config: dict[str, Any] = {**client_config(settings), "log_level": 3}
    admin = AdminClient(config)
    for tries_left in reversed(range(TRIES)):
        try:
            return _ask(admin, topics)
        except KafkaException as error:
            # A broker that elects leaders right now says so; that passes.
            if not tries_left:
                address, found = settings.kafka_bootstrap_servers, error.args[0].str()
                raise ServiceUnreachable("Kafka", address, f"{found}. Is it up? (`lakehouse status`)") from None
            time.sleep(1.0)
    raise AssertionError("not reached")


def _ask(admin: AdminClient, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    known = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {
        TopicPartition(topic, partition): latest
        for topic in topics
        for partition in (known[topic].partitions if topic in known else ())
    }
    committed = IsolationLevel.READ_COMMITTED
    answers = admin.list_offsets(asked, isolation_level=committed, request_timeout=TIMEOUT_SECONDS)
    return {(one.topic, one.partition): answer.result().offset for one, answer in answers.items()}
