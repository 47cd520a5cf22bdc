"""The schemas that writers used, by id. Ids never change, so each is asked for once; a registry that is down is
waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from confluent_kafka.schema_registry import SchemaRegistryClient
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse import metrics
from lakehouse.kafka_config import registry_config
from lakehouse.logs import get_logger
from lakehouse.registry_answers import says_there_is_none, silence
from lakehouse.settings import Settings
from streaming.framing import has_schema, schema_id

log = get_logger(__name__)
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 15.0
# The client waits for ever unless told otherwise, and its own retries would hide how long an answer is due.
CLIENT = {"timeout": 10, "max.retries": 0}
NEWEST_VERSIONS = 2
"""So many versions of a subject are learned in advance, as there are while producers are renewed; an older one is
learned from a record. All that are known are in the compiled code, which with more is too long for the JVM to compile.
"""

Answer = TypeVar("Answer")


@dataclass
class WriterSchemas:
    """Avro schemas (JSON text) by id, those of message values and those of message keys."""

    values: dict[int, str] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)


class RegistryDoesNotAnswer(Exception):
    """No answer, or none that says anything about the question. Never leaves this module."""


class Registry:
    """A client of the schema registry that tells `unknown id` (an answer) from `no answer` (wait)."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._client = SchemaRegistryClient(registry_config(settings) | CLIENT)
        self._stopping = stopping

    def schema(self, schema_id: int) -> str | None:
        """The schema's text, or None if the registry says that there is no such id. Waits while it is down.

        Raises `InterruptedError` when the stream is told to stop meanwhile.
        """
        wait, began = FIRST_WAIT_SECONDS, time.monotonic()
        while True:
            try:
                found = _asked(lambda: str(self._client.get_schema(schema_id).schema_str))
                metrics.registry_unavailable(0)
                return found
            except RegistryDoesNotAnswer as trouble:
                log.warning("registry_does_not_answer", schema_id=schema_id, reason=str(trouble), next_try_seconds=wait)
            metrics.registry_unavailable(time.monotonic() - began)
            if self._stopping.wait(wait):
                raise InterruptedError("the stream is stopping while it waits for the schema registry")
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    def newest(self, subject: str) -> dict[int, str]:
        """Schemas by id of a subject's newest versions, the newest first; empty where the registry does not answer."""
        try:
            versions = _asked(lambda: self._client.get_versions(subject)) or []
            found = [
                _asked(partial(self._client.get_version, subject, version))
                for version in sorted(versions, reverse=True)[:NEWEST_VERSIONS]
            ]
        except RegistryDoesNotAnswer as trouble:
            log.warning("registry_does_not_answer", subject=subject, reason=str(trouble))
            return {}
        return {int(one.schema_id): str(one.schema.schema_str) for one in found if one and one.schema_id}


def _asked(question: Callable[[], Answer]) -> Answer | None:
    """The answer, or None where it is that there is no such thing. Raises `RegistryDoesNotAnswer`."""
    try:
        return question()
    except Exception as error:
        if says_there_is_none(error):
            return None
        if why := silence(error):
            raise RegistryDoesNotAnswer(why) from error
        raise


def learn_in_advance(topics: Sequence[str], registry: Registry) -> WriterSchemas:
    """The schemas that the topics' subjects have now, so that a first batch need not be decoded twice.

    Asked once and without waiting: what is missing is learned from the records themselves.
    """
    known = WriterSchemas()
    for topic in topics:
        known.values |= registry.newest(f"{topic}-value")
        known.keys |= registry.newest(f"{topic}-key")
    return known


def learn(raw: DataFrame, known: WriterSchemas, registry: Registry) -> bool:
    """Ask the registry for the schemas of Kafka rows that are not known yet; returns whether there was a new one."""
    learned = False
    for column, schemas in (("value", known.values), ("key", known.keys)):
        unknown = raw.where(~has_schema(F.col(column), list(schemas))).select(schema_id(F.col(column)).alias("id"))
        for row in unknown.where("id is not null").distinct().collect():
            schema = registry.schema(row["id"])
            if schema is not None:
                schemas[row["id"]] = schema
                learned = True
    return learned
