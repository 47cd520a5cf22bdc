"""Putting notifications on the topic: what `send` returned from is on the broker."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Producer

from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.settings import Settings

FLUSH_SECONDS = 30.0
FLUSH_EVERY = 10_000
"""Below the client's own queue of 100,000 messages."""


class Announcer:
    """Writes to the notifications topic."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(client_config(settings) | {"enable.idempotence": True, "linger.ms": 5})

    def send(self, values: Iterable[bytes]) -> int:
        """Put the records on the topic; returns how many, once Kafka acknowledged all. Raises `ServiceUnreachable`."""
        failures: list[str] = []
        count = 0
        for count, value in enumerate(values, start=1):
            self._producer.produce(
                self._settings.click_objects_topic,
                value,
                on_delivery=lambda error, _: failures.append(str(error)) if error else None,
            )
            if count % FLUSH_EVERY == 0:
                self._flush(failures)
        self._flush(failures)
        return count

    def _flush(self, failures: list[str]) -> None:
        waiting = self._producer.flush(FLUSH_SECONDS)
        if waiting or failures:
            found = f"{waiting + len(failures)} notifications were not taken {failures[:1]}"
            raise ServiceUnreachable("Kafka", self._settings.kafka_bootstrap_servers, f"{found}. Is it up?")
