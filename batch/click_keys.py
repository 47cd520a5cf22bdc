"""`silver.click_keys`: where in `silver.clicks` an event id may stand, so that nobody has to look everywhere.

It is a superset: written before the clicks themselves, so that a run that died in between leaves entries too many,
which cost a look into one more partition, and never one too few. Two ids with one hash cost the same.
"""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_KEYS, CLICKS


def ensure(spark: SparkSession, settings: Settings) -> None:
    """Make the index where it is absent, from the clicks that are there, in one commit. Raises `TableMissing`."""
    if not delta_io.exists(spark, CLICK_KEYS, settings):
        delta_io.replace(_keys(delta_io.read(spark, CLICKS, settings)), CLICK_KEYS, settings, metadata="")
    delta_io.ensure(spark, CLICK_KEYS, settings)


def known(spark: SparkSession, settings: Settings, clicks: DataFrame) -> DataFrame:
    """The entries of the index for the event ids of `clicks` (`key_hash`, `event_date`). Reads the hashes of all."""
    hashes = _keys(clicks).select("key_hash")
    return delta_io.read_now(spark, CLICK_KEYS, settings).join(hashes, on="key_hash", how="left_semi").distinct()


def dates(known: DataFrame) -> list[date]:
    """The partitions of `silver.clicks` that entries name."""
    return sorted(row[0] for row in known.select("event_date").distinct().collect())


def remember(spark: SparkSession, settings: Settings, clicks: DataFrame, known: DataFrame) -> None:
    """Add entries for `clicks` to the index, but for those among `known`; no commit where there is none to add."""
    added = _keys(clicks).join(known, on=list(CLICK_KEYS.keys), how="left_anti").persist()
    try:
        if not added.isEmpty():
            delta_io.append(added.sort("key_hash"), CLICK_KEYS, settings)
    finally:
        added.unpersist()


def _keys(clicks: DataFrame) -> DataFrame:
    return clicks.select(F.xxhash64("event_id").alias("key_hash"), "event_date")
