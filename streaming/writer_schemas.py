"""The schemas that writers used, by id. Ids never change, so each is asked for once; a registry that is down is
waited for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from requests.exceptions import RequestException

from lakehouse.kafka_config import registry_config
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from streaming.framing import has_schema, schema_id

log = get_logger(__name__)
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 15.0


@dataclass
class WriterSchemas:
    """Avro schemas (JSON text) by id, those of message values and those of message keys."""

    values: dict[int, str] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)


class Registry:
    """A client of the schema registry that tells `unknown id` (an answer) from `no answer` (wait)."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._client = SchemaRegistryClient(registry_config(settings))
        self._stopping = stopping

    def schema(self, schema_id: int) -> str | None:
        """The schema's JSON text, or None if the registry says that there is no such id. Waits while it is down."""
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                return str(self._client.get_schema(schema_id).schema_str)
            except SchemaRegistryError as error:
                if error.http_status_code == 404:
                    return None
                reason = f"HTTP {error.http_status_code}"
            except (OSError, RequestException) as error:
                reason = type(error).__name__
            except Exception as error:  # the client's HTTP library raises its own family of connection errors
                if type(error).__module__.partition(".")[0] not in {"httpx", "httpcore"}:
                    raise
                reason = type(error).__name__
            log.warning("registry_does_not_answer", schema_id=schema_id, reason=reason, next_try_seconds=wait)
            if self._stopping.wait(wait):
                raise InterruptedError("the stream is stopping while it waits for the schema registry")
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)


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
