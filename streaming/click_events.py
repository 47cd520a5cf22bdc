"""Clickstream objects in S3 (JSON lines) -> `bronze.click_events`.

The stream reads notifications of objects from Kafka, and each batch reads the objects that it names. So objects are
found at constant cost, and the ledger's ranges are offsets as for every other stream.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS
from quality.rules import CLICK_RULES, broken_rules
from streaming.bronze_writer import BronzeStream
from streaming.click_objects import ClickObjects
from streaming.writer_schemas import WriterSchemas

FIELDS = ("event_id", "user_id", "session_id", "event_type", "page_url", "timestamp", "properties")


def stream(settings: Settings) -> BronzeStream:
    """The stream of the landing bucket."""
    return BronzeStream(
        spec=CLICK_EVENTS,
        topics=(settings.click_objects_topic,),
        transform=transform,
        event_time="timestamp",
        expand=ClickObjects(settings).read_objects,
        # The etag is part of a line's place: an object that was overwritten has other lines.
        origin=("_source_file", "_etag", "_source_line"),
    )


def transform(raw: DataFrame, writers: WriterSchemas) -> DataFrame:
    """Lines (`object_reader.LINE`) -> the columns of `bronze.click_events` plus `_raw`, `_raw_key`, `_reasons`,
    `_filtered_as`.

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
        F.when(F.col("_object_fault").isNotNull(), F.array("_object_fault"))
        .when(~F.is_valid_utf8(text), F.array(F.lit("invalid_utf8")))
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
