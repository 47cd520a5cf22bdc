"""Debezium's transaction markers and heartbeats -> `bronze.source_markers`."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lakehouse.settings import Settings
from lakehouse.tables import SOURCE_MARKERS
from streaming.bronze_writer import BronzeStream
from streaming.framing import decode_each, first_match, has_schema, is_framed
from streaming.kafka_source import with_kafka_origin
from streaming.writer_schemas import WriterSchemas

MARKER = StructType([field for field in SOURCE_MARKERS.schema if not field.name.startswith("_")][:5])


def stream(settings: Settings) -> BronzeStream:
    """The stream of both marker topics."""
    prefix = settings.source_topic_prefix
    return BronzeStream(
        spec=SOURCE_MARKERS,
        topics=(f"{prefix}.transaction", f"__debezium-heartbeat.{prefix}"),
        transform=transform,
        event_time="marked_at",
        has_holes=True,
    )


def transform(raw: DataFrame, writers: WriterSchemas) -> DataFrame:
    """Kafka rows -> the columns of `bronze.source_markers` plus `_raw`, `_raw_key`, `_reasons`, `_filtered_as`."""
    decoded = with_kafka_origin(decode_each(raw, "value", writers.values, "value_"), writers.values)
    markers = {one: _project(decoded, f"value_{one}") for one in writers.values}
    staged = decoded.withColumn("marker", first_match("value", writers.values, markers, F.lit(None).cast(MARKER)))
    value = F.col("value")
    reasons = (
        F.when(value.isNull(), F.lit(None).cast("array<string>"))
        .when(~is_framed(value), F.array(F.lit("bad_framing")))
        .when(~has_schema(value, list(writers.values)), F.array(F.lit("unknown_schema_id")))
        .when(F.col("marker").isNull(), F.array(F.lit("undecodable_body")))
    )
    judged = staged.withColumns({"_reasons": reasons, "_filtered_as": F.when(value.isNull(), F.lit("tombstone"))})
    return judged.select(
        *[F.col("marker")[name].alias(name) for name in MARKER.names],
        F.lit(None).cast("string").alias("source_incarnation"),
        F.col("key").alias("_key"),
        value.alias("_value"),
        *[name for name in SOURCE_MARKERS.columns if name.startswith("_") and name not in ("_key", "_value")],
        F.when(F.col("_reasons").isNotNull(), value).alias("_raw"),
        F.when(F.col("_reasons").isNotNull(), F.col("key")).alias("_raw_key"),
        "_reasons",
        "_filtered_as",
    )


def _project(frame: DataFrame, column: str) -> Column:
    shape = frame.schema[column].dataType
    assert isinstance(shape, StructType), f"{column} is no record"
    value, names = F.col(column), set(shape.names)
    is_transaction = {"status", "id", "event_count"} <= names
    kind = value["status"] if is_transaction else F.lit("heartbeat")
    collections = value["data_collections"] if is_transaction else F.lit(None)
    return (
        F.when(
            value["ts_ms"].isNotNull(),
            F.struct(
                kind.alias("kind"),
                (value["id"] if is_transaction else F.lit(None).cast("string")).alias("transaction_id"),
                (value["event_count"] if is_transaction else F.lit(None).cast("bigint")).alias("event_count"),
                collections.cast(MARKER["data_collections"].dataType).alias("data_collections"),
                F.timestamp_millis(value["ts_ms"]).alias("marked_at"),
            ),
        )
        if "ts_ms" in names
        else F.lit(None).cast(MARKER)
    )
