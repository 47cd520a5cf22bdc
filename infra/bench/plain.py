"""The other side: plain Spark as most people write it. Engine defaults, no checks, no quarantine, no ledger."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from lakehouse.settings import Settings
from lakehouse.tables.columns import columns
from streaming.inventory_events import reader_schema

CLICK = columns(
    "event_id string, user_id string, session_id string, event_type string, page_url string, timestamp timestamp, "
    "properties map<string,string>"
)


def session(spark: SparkSession) -> SparkSession:
    """A session of the same driver with the engine's defaults."""
    plain = spark.newSession()
    plain.conf.set("spark.sql.shuffle.partitions", 200)
    plain.conf.set("spark.databricks.delta.snapshotPartitions", 50)
    return plain


def inventory(spark: SparkSession, settings: Settings, target: str) -> None:
    """Kafka -> five bytes cut off -> `from_avro` -> Delta, until caught up."""
    raw = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka_bootstrap_servers)
        .option("subscribe", settings.inventory_topic)
        .option("startingOffsets", "earliest")
        .load()
    )
    body = F.expr("substring(value, 6, length(value) - 5)")
    _run(raw.select(from_avro(body, reader_schema()).alias("event")).select("event.*"), target)


def clicks(spark: SparkSession, settings: Settings, target: str) -> None:
    """JSON file source -> Delta, until caught up."""
    prefix = f"s3a://{settings.landing_bucket}/{settings.landing_prefix}"
    raw = spark.readStream.format("json").schema(CLICK).option("recursiveFileLookup", "true").load(prefix)
    _run(raw, target)


def _run(frame: DataFrame, target: str) -> None:
    writer = frame.writeStream.format("delta").option("checkpointLocation", f"{target}-checkpoint")
    writer.trigger(availableNow=True).start(target).awaitTermination()
