"""Reading Kafka: the raw frame of a stream, and the origin columns that every Bronze row keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.kafka_config import spark_options
from lakehouse.settings import Settings
from streaming.framing import has_schema, schema_id


def read(
    spark: SparkSession,
    settings: Settings,
    topics: Sequence[str],
    starting: Mapping[str, Mapping[int, int]] | None = None,
    offsets_per_batch: int | None = None,
    with_headers: bool = False,
) -> DataFrame:
    """A streaming frame of key, value, topic, partition, offset, timestamp; also headers where they are wanted, since a
    list is made for each record.

    A batch has at most `offsets_per_batch`; without, as many as the settings allow.
    A new checkpoint begins at the offsets of `starting` (topic -> partition -> offset), or at the earliest without.
    Stops (`failOnDataLoss`) when offsets that it still needs are gone.
    """
    earliest = "earliest" if starting is None else json.dumps(starting)
    reader = spark.readStream.format("kafka").options(**spark_options(settings))
    return (
        reader.option("subscribe", ",".join(topics))
        .option("startingOffsets", earliest)
        .option("failOnDataLoss", "true")
        .option("includeHeaders", with_headers)
        .option("maxOffsetsPerTrigger", offsets_per_batch or settings.max_offsets_per_batch)
        # Debezium writes in transactions: rows of an aborted one must never be seen.
        .option("kafka.isolation.level", "read_committed")
        # Larger polls: twice the rows per second on small messages.
        .option("kafka.max.poll.records", 10_000)
        .option("kafka.max.partition.fetch.bytes", 8 * 1024 * 1024)
        .load()
    )


def kafka_origin(known_ids: Iterable[int]) -> dict[str, Column]:
    """The origin columns; when the row came to Bronze is stamped by the writer."""
    known = [F.when(has_schema(F.col("value"), [one]), F.lit(one)) for one in known_ids]
    return {
        "_topic": F.col("topic"),
        "_partition": F.col("partition"),
        "_offset": F.col("offset"),
        "_kafka_at": F.col("timestamp"),
        # Known ids by a compare of bytes; only an unknown one is parsed.
        "_schema_id": F.coalesce(*known, schema_id(F.col("value"))),
    }


def originals(rejected: DataFrame) -> DataFrame:
    """Rejected rows -> the Kafka rows that they were: the same bytes, headers, place and time."""
    return rejected.select(
        F.col("raw_key").alias("key"),
        F.col("raw_value").alias("value"),
        F.col("_topic").alias("topic"),
        F.col("_partition").alias("partition"),
        F.col("_offset").alias("offset"),
        F.col("arrived_at").alias("timestamp"),
        F.col("raw_headers").alias("headers"),
        "_batch_id",
    )
