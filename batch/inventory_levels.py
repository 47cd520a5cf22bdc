"""`bronze.inventory_events` -> `silver.inventory_levels`: the newest level per product and warehouse, by sequence.

A level is a state that can be merged in any order: the newest event, and the ranges of its sequence that were seen, so
that a number that is missing today and arrives tomorrow is missed no longer.

A sequence that begins at 1 again (a new warehouse system) is not followed: the level stays that of the highest sequence
until the new count passes it, and the row is a suspect from the first event that is later and has a lower sequence.
"""

from __future__ import annotations

from datetime import timedelta

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from batch import cut
from lakehouse import delta_io
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS, INVENTORY_LEVELS

log = get_logger(__name__)

MAX_RANGES = 100
"""Of one sequence. Beyond, the lowest gaps are given up: missing for ever, also if an event of one arrives."""
RESTARTED_AFTER = timedelta(minutes=5)
"""Clocks of one warehouse differ by less."""
KEYS = INVENTORY_LEVELS.keys
NEWEST = ("sequence", "_offset", "occurred_at", "on_hand")


def transform(raw: DataFrame) -> DataFrame:
    """Inventory events -> one row per (sku, warehouse_id): the level with the highest sequence; at a tie the later
    offset.
    """
    seen = F.array(F.struct(F.col("sequence").alias("from_sequence"), F.col("sequence").alias("to_sequence")))
    nothing = F.lit(0).cast("bigint")
    return combine(raw.withColumns({"_seen": seen, "_given_up": nothing, "_latest_at": F.col("occurred_at")}))


def combine(levels: DataFrame) -> DataFrame:
    """Any number of levels per key -> one per key, the same for every order and grouping of them."""
    newest = levels.groupBy(*KEYS).agg(
        F.max(F.struct(*NEWEST)).alias("newest"),
        F.sum(F.coalesce("_given_up", F.lit(0))).alias("known_lost"),
        F.max(F.coalesce("_latest_at", "occurred_at")).alias("_latest_at"),
    )
    # A key has at least one range, as each event has a sequence.
    joined = newest.join(_ranges(levels), on=list(KEYS), how="inner").withColumn("_seen", _bounded(F.col("ranges")))
    lost = _missing_in(F.col("ranges")) - _missing_in(F.col("_seen"))
    rows = joined.select(*KEYS, "newest.*", "_latest_at", "_seen", (F.col("known_lost") + lost).alias("_given_up"))
    return rows.withColumns(
        {
            "is_negative": F.col("on_hand") < 0,
            "missing_sequences": F.col("_given_up") + _missing_in(F.col("_seen")),
            "is_sequence_suspect": F.col("_latest_at") > F.col("occurred_at") + F.lit(RESTARTED_AFTER),
            "_merged_at": F.current_timestamp(),
        }
    ).select(*INVENTORY_LEVELS.columns)


def _ranges(levels: DataFrame) -> DataFrame:
    """Per key the union of all `_seen`, as `ranges`: sorted, apart by at least one number each."""
    # A row of a table that is older than the ranges has none: of its sequence one number is known.
    own = F.array(F.struct(F.col("sequence").alias("from_sequence"), F.col("sequence").alias("to_sequence")))
    each = levels.select(*KEYS, F.explode(F.coalesce("_seen", own)).alias("range")).select(*KEYS, "range.*")
    in_order = Window.partitionBy(*KEYS).orderBy("from_sequence", "to_sequence")
    reached = F.max("to_sequence").over(in_order.rowsBetween(Window.unboundedPreceding, -1))
    begins = F.coalesce(F.col("from_sequence") > reached + 1, F.lit(True)).cast("int")
    numbered = each.withColumn("begins", begins).withColumn("number", F.sum("begins").over(in_order))
    joined = numbered.groupBy(*KEYS, "number").agg(
        F.min("from_sequence").alias("from_sequence"), F.max("to_sequence").alias("to_sequence")
    )
    ranges = F.array_sort(F.collect_list(F.struct("from_sequence", "to_sequence")))
    return joined.groupBy(*KEYS).agg(ranges.alias("ranges"))


def _bounded(ranges: Column) -> Column:
    """The ranges themselves, or the newest of them behind one that stands for all lower ones."""
    too_many = F.size(ranges) - MAX_RANGES + 1
    first = F.struct(
        ranges[0]["from_sequence"].alias("from_sequence"), ranges[too_many - 1]["to_sequence"].alias("to_sequence")
    )
    shorter = F.concat(F.array(first), F.slice(ranges, -(MAX_RANGES - 1), MAX_RANGES - 1))
    return F.when(F.size(ranges) > MAX_RANGES, shorter).otherwise(ranges)


def _missing_in(ranges: Column) -> Column:
    """How many numbers lie between the ranges."""
    width = F.element_at(ranges, -1)["to_sequence"] - ranges[0]["from_sequence"] + 1
    zero = F.lit(0).cast("bigint")
    seen = F.aggregate(ranges, zero, lambda total, one: total + one["to_sequence"] - one["from_sequence"] + 1)
    return width - seen


def run(spark: SparkSession, settings: Settings) -> int:
    """Merge what is new in Bronze; returns the number of events. No new event: no commit."""
    delta_io.ensure(spark, INVENTORY_LEVELS, settings)
    begun_at = delta_io.version(spark, INVENTORY_LEVELS, settings)
    positions = cut.merged_through(spark, INVENTORY_LEVELS, INVENTORY_EVENTS, settings)
    raw = cut.after(delta_io.read_now(spark, INVENTORY_EVENTS, settings), positions).persist()
    try:
        events = raw.count()
        if events:
            with cut.commit_of(spark, INVENTORY_LEVELS, begun_at, cut.entry(cut.next_positions(raw, positions))):
                _merge(spark, settings, transform(raw))
        log.info("silver_merged", table=INVENTORY_LEVELS.name, events=events)
        return events
    finally:
        raw.unpersist()


def _merge(spark: SparkSession, settings: Settings, arrived: DataFrame) -> None:
    table = delta_io.table(spark, INVENTORY_LEVELS, settings)
    standing = table.toDF().join(arrived.select(*KEYS), on=list(KEYS), how="left_semi")
    levels = combine(standing.unionByName(arrived))
    is_same_key = (F.col("row.sku") == F.col("level.sku")) & (F.col("row.warehouse_id") == F.col("level.warehouse_id"))
    is_changed = ~F.struct(*_state("row")).eqNullSafe(F.struct(*_state("level")))
    merge = table.alias("row").merge(levels.alias("level"), is_same_key)
    merge.whenMatchedUpdateAll(condition=is_changed).whenNotMatchedInsertAll().execute()


def _state(side: str) -> list[Column]:
    return [F.col(f"{side}.{name}") for name in INVENTORY_LEVELS.columns if name != "_merged_at"]
