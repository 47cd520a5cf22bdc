"""Kafka `inventory.events` (Avro, Confluent wire format) -> `bronze.inventory_events`."""

from __future__ import annotations

from functools import cache
from importlib import resources

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lakehouse.tables import INVENTORY_EVENTS
from quality.rules import INVENTORY_RULES, broken_rules
from streaming.framing import decode_each, first_match, has_schema, is_framed
from streaming.kafka_source import with_kafka_origin
from streaming.writer_schemas import Registry, WriterSchemas, learn

EVENT = StructType([field for field in INVENTORY_EVENTS.schema if not field.name.startswith("_")])


@cache
def reader_schema() -> str:
    """The contract that every writer's schema is resolved to (lakehouse/contracts/inventory_event.avsc)."""
    return resources.files("lakehouse.contracts").joinpath("inventory_event.avsc").read_text(encoding="utf-8")


def transform(raw: DataFrame, writers: WriterSchemas) -> DataFrame:
    """Kafka rows -> the columns of `bronze.inventory_events` plus `_raw`, `_reasons` and `_filtered_as`.

    `_reasons` is null for a good row; `_raw` (the message's bytes) is set only for a bad one.
    """
    ids = writers.values
    decoded = decode_each(raw, "value", ids, "value_", reader_schema())
    event = first_match("value", ids, {one: F.col(f"value_{one}") for one in ids}, F.lit(None).cast(EVENT))
    named = with_kafka_origin(decoded.withColumn("event", event), ids)
    flat = named.select("*", *[F.col("event")[field].alias(field) for field in EVENT.names])
    reasons = (
        F.when(F.col("value").isNull(), F.array(F.lit("null_value")))
        .when(~is_framed(F.col("value")), F.array(F.lit("bad_framing")))
        .when(~has_schema(F.col("value"), list(ids)), F.array(F.lit("unknown_schema_id")))
        .when(F.col("event_id").isNull(), F.array(F.lit("undecodable_body")))
        .otherwise(broken_rules(INVENTORY_RULES))
    )
    judged = flat.withColumn("_reasons", reasons)
    return judged.withColumns(
        {
            "_raw": F.when(F.col("_reasons").isNotNull(), F.col("value")),
            "_raw_key": F.when(F.col("_reasons").isNotNull(), F.col("key")),
            "_filtered_as": F.lit(None).cast("string"),
        }
    ).select(*INVENTORY_EVENTS.columns, "_raw", "_raw_key", "_reasons", "_filtered_as")


def good_rows(raw: DataFrame, writers: WriterSchemas, registry: Registry) -> DataFrame:
    """The good events of Kafka rows, for readers that keep no account of the bad ones; learns schemas that it meets."""
    learn(raw, writers, registry)
    stamped = raw.withColumns({"_ingested_at": F.col("timestamp"), "_batch_id": F.lit(0).cast("bigint")})
    return transform(stamped, writers).where(F.col("_reasons").isNull()).select(*INVENTORY_EVENTS.columns)
