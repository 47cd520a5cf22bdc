"""Keys of the rejected changes of a table: why a row of Silver may differ from Postgres."""

from __future__ import annotations

from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import SerializationError
from pyspark.sql import SparkSession

from lakehouse.kafka_config import registry_config
from lakehouse.outcomes import REPLAYED, rejected_without
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable


def raw(spark: SparkSession, settings: Settings, table: CapturedTable) -> list[bytes | None]:
    """The Kafka key of each rejected change that did not come back; one that was discarded is missing for good."""
    # Rejected on the way to Bronze, and rejected on the way to Silver.
    missing = [rejected_without(spark, settings, name, REPLAYED) for name in (table.changes.table, table.rejects)]
    return [row["raw_key"] for rows in missing if rows is not None for row in rows.select("raw_key").collect()]


def of(spark: SparkSession, settings: Settings, table: CapturedTable) -> set[tuple[str, ...]]:
    """The keys as text, one part per key column. A key that can't be decoded names no row, and is left out."""
    found: set[tuple[str, ...]] = set()
    keys = {key for key in raw(spark, settings, table) if key}
    decode: Any = AvroDeserializer(SchemaRegistryClient(registry_config(settings))) if keys else None
    for key in keys:
        try:
            record = decode(key, None)
        except (SerializationError, ValueError, EOFError, IndexError):
            continue
        found.add(tuple(str(record.get(name)) for name in table.keys))
    return found
