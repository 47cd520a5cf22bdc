"""Clickstream objects in S3 (JSON lines) -> `bronze.click_events`.

The stream reads notifications {bucket, key, size, etag} from Kafka, and each batch reads the objects that it
names. So objects are
found at constant cost, and the ledger's ranges are offsets as for every other stream.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS
from quality.rules import CLICK_RULES, broken_rules
from streaming.bronze_writer import BronzeStream
from streaming.writer_schemas import WriterSchemas

NOTIFICATION = "bucket string, key string, size bigint, etag string"
ORIGIN = "_source_file string, _etag string, _topic string, _partition int, _offset bigint, _kafka_at timestamp"
FIELDS = ("event_id", "user_id", "session_id", "event_type", "page_url", "timestamp", "properties")
OPEN_COST_BYTES = 4 * 1024 * 1024


class BadNotification(LakehouseError):
    """A record on the notifications topic does not name an object."""

    def __init__(self, offsets: list[int]) -> None:
        super().__init__(
            f"{len(offsets)} record(s) on the notifications topic name no object (offsets {offsets[:5]}): "
            f"expected JSON with "
            "bucket, key, size and etag. Objects could be missed, so the stream stops; see docs/runbooks/clicks.md."
        )


def stream(settings: Settings) -> BronzeStream:
    """The stream of the landing bucket."""
    return BronzeStream(
        spec=CLICK_EVENTS,
        topics=(settings.click_objects_topic,),
        transform=transform,
        event_time="timestamp",
        expand=read_objects,
        origin=("_source_file", "", "_source_line"),
    )


def read_objects(notifications: DataFrame, settings: Settings) -> DataFrame:
    """Notifications (Kafka rows) -> one row per line of the objects that they name: `value`, `_source_line` and
    `ORIGIN`.

    Lines are counted from 1. Objects are never split, so that the number of a line is known.
    Raises `BadNotification` when a record names no object.
    """
    spark = notifications.sparkSession
    objects = _named_objects(notifications)
    origin = spark.createDataFrame([row for row, _ in objects.values()], ORIGIN)
    if not objects:
        return origin.withColumns({"value": F.lit(""), "_source_line": F.lit(0).cast("bigint")})
    _keep_objects_whole(spark, [size for _, size in objects.values()])
    lines = spark.read.text([name.replace("s3:", "s3a:", 1) for name in objects]).select(
        "value",
        F.regexp_replace(F.url_decode(F.col("_metadata.file_path")), "^s3a:", "s3:").alias("_source_file"),
        F.monotonically_increasing_id().alias("position"),
    )
    first = lines.groupBy("_source_file").agg(F.min("position").alias("first_position"))
    about = F.broadcast(first.join(F.broadcast(origin), on="_source_file", how="inner"))
    numbered = lines.join(about, on="_source_file", how="inner")
    return numbered.withColumn("_source_line", F.col("position") - F.col("first_position") + 1)


def _named_objects(notifications: DataFrame) -> dict[str, tuple[tuple[Any, ...], int]]:
    """Per object's address: its `ORIGIN` row and its size in bytes. Of repeated notifications the last one counts."""
    parsed = notifications.select("*", F.from_json(F.col("value").cast("string"), NOTIFICATION).alias("object"))
    rows = parsed.select("topic", "partition", "offset", "timestamp", "object.*").collect()
    if bad := [row["offset"] for row in rows if not (row["bucket"] and row["key"])]:
        raise BadNotification(bad)
    found = {}
    for row in rows:
        name = f"s3://{row['bucket']}/{row['key']}"
        origin = (name, row["etag"], row["topic"], row["partition"], row["offset"], row["timestamp"])
        found[name] = (origin, row["size"] or 0)
    return {name: one for name, one in found.items() if one[1]}


def _keep_objects_whole(spark: SparkSession, sizes: list[int]) -> None:
    # Spark cuts at min(this, bytes per core): as large as the largest object, and small ones still fill two tasks.
    largest_share = (sum(sizes) + len(sizes) * OPEN_COST_BYTES) // 2
    spark.conf.set("spark.sql.files.maxPartitionBytes", max(max(sizes), largest_share) + OPEN_COST_BYTES)
    spark.conf.set("spark.sql.files.minPartitionNum", 1)


def transform(raw: DataFrame, writers: WriterSchemas) -> DataFrame:
    """Lines (as `read_objects` gives them) -> the columns of `bronze.click_events` plus `_raw`, `_raw_key`,
    `_reasons`, `_filtered_as`.

    JSON carries no schema id: `writers` is not used, it is there because all streams share one writer.
    """
    del writers
    text = F.col("value")
    parsed = raw.withColumn("fields", F.when(F.is_valid_utf8(text), F.from_json(text, "map<string,string>")))
    field = {name: F.col("fields")[name] for name in FIELDS}
    flat = parsed.withColumns(
        {
            **{name: field[name] for name in FIELDS if name not in ("timestamp", "properties")},
            "timestamp": field["timestamp"].try_cast("timestamp"),
            "properties": F.from_json(field["properties"], "map<string,string>"),
            "_unknown_fields": F.map_filter("fields", lambda name, _: ~name.isin(*FIELDS)),
        }
    )
    shaped = flat.withColumns(
        {
            "product_id": F.col("properties")["product_id"],
            "event_date": F.to_date("timestamp"),
            "event_hour": F.hour("timestamp"),
            "_unknown_fields": F.when(F.size("_unknown_fields") > 0, F.col("_unknown_fields")),
        }
    )
    reasons = (
        F.when(~F.is_valid_utf8(text), F.array(F.lit("invalid_utf8")))
        .when(F.col("fields").isNull(), F.array(F.lit("malformed_json")))
        .otherwise(broken_rules(CLICK_RULES))
    )
    judged = shaped.withColumn("_reasons", reasons)
    # A blank line carries nothing: it is filtered by name, so that the batch still balances.
    is_blank_line = F.trim(text) == ""
    return judged.select(
        *CLICK_EVENTS.columns,
        F.when(F.col("_reasons").isNotNull(), text.cast("binary")).alias("_raw"),
        F.lit(None).cast("binary").alias("_raw_key"),
        F.when(~is_blank_line, F.col("_reasons")).alias("_reasons"),
        F.when(is_blank_line, F.lit("blank_line")).alias("_filtered_as"),
    )
