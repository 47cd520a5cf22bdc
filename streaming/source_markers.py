"""Debezium's transaction markers and heartbeats -> `bronze.source_markers`."""

from __future__ import annotations

from functools import partial

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lakehouse.contracts.policy import Field
from lakehouse.settings import Settings
from lakehouse.tables import SOURCE_MARKERS
from streaming.bronze_writer import BronzeStream
from streaming.counts import has_no_reason
from streaming.framing import MAX_BYTES, contract_reasons, decode_each, ends_well, first_of
from streaming.kafka_source import kafka_origin
from streaming.projection import plan
from streaming.stamps import moment_of
from streaming.writer_schemas import WriterSchemas

MARKER = StructType([field for field in SOURCE_MARKERS.schema if not field.name.startswith("_")][:5])
TS_MS = Field("ts_ms", SOURCE_MARKERS.schema["event_count"].dataType)


def stream(settings: Settings) -> BronzeStream:
    """The stream of both marker topics."""
    prefix = settings.source_topic_prefix
    return BronzeStream(
        spec=SOURCE_MARKERS,
        topics=(f"{prefix}.transaction", f"__debezium-heartbeat.{prefix}"),
        transform=partial(transform, max_bytes=settings.max_record_bytes),
        event_time="marked_at",
        has_holes=True,
    )


def transform(raw: DataFrame, writers: WriterSchemas, max_bytes: int = MAX_BYTES) -> DataFrame:
    """Kafka rows -> the columns of `bronze.source_markers` plus `_raw`, `_raw_key` and the `JUDGEMENT`.

    Nothing is deleted on these topics: a null value is no tombstone.
    """
    schemas = plan(writers.values, (TS_MS,))
    columns = [f"value_{one}" for one in schemas.schemas]
    decoded = raw.withColumns(decode_each("value", schemas.schemas, "value_") | kafka_origin(writers.values))
    markers = [_marker(F.col(f"value_{one}")["event"], schemas.records[one]) for one in schemas.schemas]
    staged = decoded.withColumn("marker", first_of(markers, MARKER.simpleString()))
    value = F.col("value")
    is_whole = ends_well(columns) & (F.length(value) <= max_bytes)
    why_not = contract_reasons(value, list(writers.values), schemas.rejected, columns, max_bytes)
    judged = staged.withColumn("_reasons", F.when(~is_whole, why_not))
    flat = judged.select(
        *[F.col("marker")[name].alias(name) for name in MARKER.names],
        F.lit(None).cast("string").alias("source_incarnation"),
        F.col("key").alias("_key"),
        value.alias("_value"),
        *[name for name in SOURCE_MARKERS.columns if name.startswith("_") and name not in ("_key", "_value")],
        F.when(F.col("_reasons").isNotNull(), value).alias("_raw"),
        F.when(F.col("_reasons").isNotNull(), F.col("key")).alias("_raw_key"),
        "_reasons",
        F.lit(None).cast("string").alias("_filtered_as"),
    )
    return flat.withColumn("_is_good", has_no_reason())


def _marker(value: Column, shape: StructType) -> Column:
    is_transaction = {"status", "id", "event_count", "data_collections"} <= set(shape.names)
    found = {
        "kind": value["status"] if is_transaction else F.lit("heartbeat"),
        "transaction_id": value["id"] if is_transaction else F.lit(None),
        "event_count": value["event_count"] if is_transaction else F.lit(None),
        "data_collections": value["data_collections"] if is_transaction else F.lit(None),
        "marked_at": moment_of(value["ts_ms"]),
    }
    columns = [column.cast(MARKER[name].dataType).alias(name) for name, column in found.items()]
    return F.when(found["marked_at"].isNotNull(), F.struct(*columns))
