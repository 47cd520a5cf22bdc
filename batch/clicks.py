"""`bronze.click_events` -> `silver.clicks`: the first occurrence of each event id, by (time, object, line), for ever.

An earlier occurrence that arrives late takes the place of the one that is there, also in another partition. Only
partitions that may hold one of the new ids are read (batch/click_keys.py), and only those that change are written.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from batch import click_keys, cut
from lakehouse import delta_io
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, CLICKS

log = get_logger(__name__)

PLACE = ("event_at", "_source_file", "_source_line", "_etag")
"""The etag only tells lines apart that an object held before and after it was overwritten."""


def transform(raw: DataFrame, business_time_zone: str) -> DataFrame:
    """Click events -> one row per event_id, the first by `PLACE`; `event_date` is the business day."""
    named = raw.withColumns(
        {
            "event_at": F.col("timestamp"),
            "event_date": F.to_date(F.from_utc_timestamp("timestamp", business_time_zone)),
            "_merged_at": F.current_timestamp(),
        }
    )
    first = Window.partitionBy("event_id").orderBy(*PLACE)
    once = named.withColumn("_rank", F.row_number().over(first)).where("_rank = 1")
    return once.select(*CLICKS.columns)


def run(spark: SparkSession, settings: Settings) -> int:
    """Bring the clicks up to Bronze; returns the number of new Bronze rows. No new row: no commit."""
    delta_io.ensure(spark, CLICKS, settings)
    click_keys.ensure(spark, settings)
    begun_at = delta_io.version(spark, CLICKS, settings)
    positions = cut.merged_through(spark, CLICKS, CLICK_EVENTS, settings)
    raw = cut.after(delta_io.read_now(spark, CLICK_EVENTS, settings), positions).persist()
    arrived = transform(raw, settings.business_time_zone).persist()
    try:
        events = raw.count()
        if events:
            merged = cut.entry(cut.next_positions(raw, positions))
            _merge(spark, settings, arrived, begun_at, merged)
        log.info("silver_merged", table=CLICKS.name, events=events)
        return events
    finally:
        arrived.unpersist()
        raw.unpersist()


def _merge(spark: SparkSession, settings: Settings, arrived: DataFrame, begun_at: int, merged: dict[str, Any]) -> None:
    known = click_keys.known(spark, settings, arrived).persist()
    is_near = F.col("row.event_date").isin(click_keys.dates(known))
    standing = delta_io.read_now(spark, CLICKS, settings).alias("row").where(is_near)
    firsts = _first_of_all(arrived, standing).persist()
    try:
        click_keys.remember(spark, settings, firsts, known)
        is_plain_append = firsts.where("_replaces").isEmpty()
        clicks = firsts.select(*CLICKS.columns)
        with cut.commit_of(spark, CLICKS, begun_at, merged):
            if is_plain_append:
                # Also where there is no click to add: the commit carries the positions.
                delta_io.append(clicks.repartition("event_date"), CLICKS, settings)
            else:
                is_same = is_near & (F.col("row.event_id") == F.col("click.event_id"))
                merge = delta_io.table(spark, CLICKS, settings).alias("row").merge(clicks.alias("click"), is_same)
                merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
    finally:
        firsts.unpersist()
        known.unpersist()


def _first_of_all(arrived: DataFrame, standing: DataFrame) -> DataFrame:
    """The arrived clicks that are new or earlier than the one of their id that stands; these are marked `_replaces`."""

    def place(side: str) -> Column:
        return F.struct(*[F.col(f"{side}.{name}") for name in PLACE])

    pairs = arrived.alias("click").join(standing, F.col("click.event_id") == F.col("row.event_id"), how="left")
    is_new = F.col("row.event_id").isNull()
    is_first = is_new | (place("click") < place("row"))
    return pairs.where(is_first).select("click.*", (~is_new).alias("_replaces"))
