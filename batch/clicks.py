"""`bronze.click_events` -> `silver.clicks`: the first occurrence of each event id."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from batch import cut
from lakehouse import delta_io
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, CLICKS

log = get_logger(__name__)


def transform(raw: DataFrame, business_time_zone: str) -> DataFrame:
    """Click events -> one row per event_id, the first by (time, object, line); `event_date` is the business day."""
    first = Window.partitionBy("event_id").orderBy("timestamp", "_source_file", "_source_line")
    once = raw.withColumn("_rank", F.row_number().over(first)).where("_rank = 1")
    named = once.withColumns(
        {
            "event_at": F.col("timestamp"),
            "event_date": F.to_date(F.from_utc_timestamp("timestamp", business_time_zone)),
            "_merged_at": F.current_timestamp(),
        }
    )
    return named.select(*CLICKS.columns)


def run(spark: SparkSession, settings: Settings) -> int:
    """Add events that are not there yet; returns the number of new Bronze rows. No new row: no commit."""
    delta_io.ensure(spark, CLICKS, settings)
    positions = cut.merged_through(spark, CLICKS, settings)
    raw = cut.after(delta_io.read(spark, CLICK_EVENTS, settings), positions).persist()
    try:
        events = raw.count()
        if events:
            new = transform(raw, settings.business_time_zone).alias("change")
            with delta_io.commit_metadata(spark, cut.entry(cut.next_positions(raw, positions))):
                merge = (
                    delta_io.table(spark, CLICKS, settings).alias("row").merge(new, "row.event_id = change.event_id")
                )
                merge.whenNotMatchedInsertAll().execute()
        log.info("silver_merged", table=CLICKS.name, events=events)
        return events
    finally:
        raw.unpersist()
