"""`bronze.inventory_events` -> `silver.inventory_levels`: the newest level per product and warehouse, by sequence."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch import cut
from lakehouse import delta_io
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS, INVENTORY_LEVELS

log = get_logger(__name__)


def transform(raw: DataFrame) -> DataFrame:
    """Inventory events -> one row per (sku, warehouse_id): the level with the highest sequence; at a tie the later
    offset.
    """
    newest = raw.groupBy(*INVENTORY_LEVELS.keys).agg(
        F.max_by(F.struct("on_hand", "sequence", "occurred_at", "_offset"), F.struct("sequence", "_offset")).alias(
            "newest"
        )
    )
    flat = newest.select(*INVENTORY_LEVELS.keys, "newest.*")
    levels = flat.withColumns({"is_negative": F.col("on_hand") < 0, "_merged_at": F.current_timestamp()})
    return levels.select(*INVENTORY_LEVELS.columns)


def run(spark: SparkSession, settings: Settings) -> int:
    """Merge what is new in Bronze; returns the number of events. No new event: no commit."""
    delta_io.ensure(spark, INVENTORY_LEVELS, settings)
    positions = cut.merged_through(spark, INVENTORY_LEVELS, settings)
    raw = cut.after(delta_io.read(spark, INVENTORY_EVENTS, settings), positions).persist()
    try:
        events = raw.count()
        if events:
            is_newer = F.struct("change.sequence", "change._offset") > F.struct("row.sequence", "row._offset")
            is_same = (F.col("row.sku") == F.col("change.sku")) & (
                F.col("row.warehouse_id") == F.col("change.warehouse_id")
            )
            with delta_io.commit_metadata(spark, cut.entry(cut.next_positions(raw, positions))):
                levels = delta_io.table(spark, INVENTORY_LEVELS, settings).alias("row")
                merge = levels.merge(transform(raw).alias("change"), is_same)
                merge.whenMatchedUpdateAll(condition=is_newer).whenNotMatchedInsertAll().execute()
        log.info("silver_merged", table=INVENTORY_LEVELS.name, events=events)
        return events
    finally:
        raw.unpersist()
