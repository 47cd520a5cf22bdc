"""The other side: plain Spark as most people write it. Engine defaults, no checks, no quarantine, no ledger."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.streaming.query import StreamingQuery

from lakehouse.contracts.declared import inventory_schema
from lakehouse.settings import Settings
from lakehouse.tables.columns import columns
from streaming.queries import NEVER_REPEATED, TEXTS

CLICK = columns(
    "event_id string, user_id string, session_id string, event_type string, page_url string, timestamp timestamp, "
    "properties map<string,string>"
)
# What our sessions set and the engine does not.
ENGINE_DEFAULTS = {
    "spark.sql.shuffle.partitions": "200",
    "spark.databricks.delta.snapshotPartitions": "50",
    "spark.sql.parquet.compression.codec": "snappy",
    "spark.sql.parquet.outputTimestampType": "INT96",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.streaming.noDataMicroBatches.enabled": "true",
    "spark.sql.codegen.hugeMethodLimit": "65535",
    "parquet.writer.version": "v1",
    "parquet.size.statistics.enabled": "true",
    **{f"parquet.enable.dictionary#{column}": "true" for column in NEVER_REPEATED},
    **{f"parquet.column.statistics.enabled#{column}": "true" for column in TEXTS},
}


def session(spark: SparkSession) -> SparkSession:
    """A session of the same driver with the engine's defaults."""
    plain = spark.newSession()
    for name, value in ENGINE_DEFAULTS.items():
        plain.conf.set(name, value)
    return plain


def inventory(spark: SparkSession, settings: Settings, rows_per_batch: int | None = None) -> DataFrame:
    """Kafka -> five bytes cut off -> `from_avro`."""
    reader = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka_bootstrap_servers)
        .option("subscribe", settings.inventory_topic)
        .option("startingOffsets", "earliest")
    )
    if rows_per_batch:
        reader = reader.option("maxOffsetsPerTrigger", rows_per_batch)
    body = F.expr("substring(value, 6, length(value) - 5)")
    return reader.load().select(from_avro(body, inventory_schema()).alias("event")).select("event.*")


def clicks(spark: SparkSession, settings: Settings) -> DataFrame:
    """The JSON file source."""
    return spark.readStream.format("json").schema(CLICK).option("recursiveFileLookup", "true").load(landing(settings))


def listed(spark: SparkSession, settings: Settings) -> None:
    """List the objects as the JSON file source does for each batch, and read none."""
    spark.read.format("json").schema(CLICK).option("recursiveFileLookup", "true").load(landing(settings))


def landing(settings: Settings) -> str:
    """Address of the landing prefix."""
    return f"s3a://{settings.landing_bucket}/{settings.landing_prefix}"


def start(frame: DataFrame, target: str, until_caught_up: bool) -> StreamingQuery:
    """Into Delta: one batch after the other, without a pause, or until caught up."""
    writer = frame.writeStream.format("delta").option("checkpointLocation", f"{target}-checkpoint")
    return (writer.trigger(availableNow=True) if until_caught_up else writer).start(target)
