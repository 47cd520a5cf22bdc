"""`bronze.<table>_changes` -> `silver.<table>` and `silver.<table>_deleted`, for any captured table.

Newest change wins by (LSN, order in the transaction, offset). Deleted rows move to a table of their own with the
position of their
delete, so that an old update can't revive one and no reader of `silver.<table>` sees one as live.
"""

from __future__ import annotations

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.window import WindowSpec

from batch import cut
from lakehouse import delta_io
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable

log = get_logger(__name__)
UNAVAILABLE = "__debezium_unavailable_value"
POSITION = ("_lsn", "_transaction_order", "_offset")


def run(spark: SparkSession, settings: Settings, captured: CapturedTable) -> int:
    """Merge what is new in Bronze; returns the number of change events. No new event: no commit."""
    delta_io.ensure(spark, captured.silver, settings)
    delta_io.ensure(spark, captured.deleted, settings)
    positions = cut.merged_through(spark, captured.silver, settings)
    raw = cut.after(delta_io.read(spark, captured.changes, settings), positions).persist()
    try:
        events = raw.count()
        if events:
            _merge(spark, settings, captured, transform(raw, captured), cut.next_positions(raw, positions))
        log.info("silver_merged", table=captured.silver.name, events=events)
        return events
    finally:
        raw.unpersist()


def transform(raw: DataFrame, captured: CapturedTable) -> DataFrame:
    """Change events -> one row per key: the newest state with its position, and `_is_deleted`.

    A column that Debezium left out (an unchanged large value) takes the newest real value that came before it in
    these events; it stays the placeholder where there is none, and the merge keeps what Silver has.
    """
    is_delete = F.col("op") == "d"
    rows = raw.where(F.col("op") != "t").select(
        *[F.col("key")[key].alias(key) for key in captured.keys],
        # The `before` of a delete is not used: under REPLICA IDENTITY DEFAULT its values are invented.
        *[F.when(~is_delete, F.col("after")[name]).alias(name) for name in _values(captured)],
        F.col("lsn").alias("_lsn"),
        F.coalesce("transaction_order", F.lit(0)).alias("_transaction_order"),
        "_offset",
        F.col("source_at").alias("_source_at"),
        F.col("_ingested_at").alias("_merged_at"),
        is_delete.alias("_is_deleted"),
    )
    by_position = Window.partitionBy(*captured.keys).orderBy(*POSITION)
    newest_first = Window.partitionBy(*captured.keys).orderBy(*[F.col(name).desc() for name in POSITION])
    filled = rows.withColumns({name: _last_real_value(name, by_position) for name in _large_columns(captured)})
    newest = filled.withColumn("_rank", F.row_number().over(newest_first)).where("_rank = 1")
    return newest.select(*captured.silver.columns, "_is_deleted")


def _values(captured: CapturedTable) -> list[str]:
    return [name for name in captured.columns.names if name not in captured.keys]


def _large_columns(captured: CapturedTable) -> list[str]:
    return [f.name for f in captured.columns if f.dataType.typeName() == "string" and f.name not in captured.keys]


def _last_real_value(name: str, by_position: WindowSpec) -> Column:
    is_left_out = F.col(name) == UNAVAILABLE
    # Wrapped, so that a real null counts as a value.
    real = F.last(
        F.when(~F.coalesce(is_left_out, F.lit(False)), F.struct(F.col(name).alias("value"))), ignorenulls=True
    )
    return F.when(is_left_out, F.coalesce(real.over(by_position)["value"], F.lit(UNAVAILABLE))).otherwise(F.col(name))


def _merge(
    spark: SparkSession, settings: Settings, captured: CapturedTable, newest: DataFrame, positions: dict[str, int]
) -> None:
    live = delta_io.table(spark, captured.silver, settings)
    deleted = delta_io.table(spark, captured.deleted, settings)
    changes = newest.withColumn("_merged_at", F.current_timestamp()).persist()
    try:
        # First the memory of deletes, then the rows: a crash between the two leaves nothing that a rerun does not heal.
        _remember_deletes(deleted, live.toDF(), changes, captured)
        _forget_revived(deleted, changes, captured)
        standing = _not_deleted_since(changes, deleted.toDF(), captured)
        with delta_io.commit_metadata(spark, cut.entry(positions)):
            _merge_live(live, standing, captured)
    finally:
        changes.unpersist()


def _is_newer(change: str, row: str) -> Column:
    def position(side: str) -> Column:
        return F.struct(*[F.col(f"{side}.{name}") for name in POSITION])

    return position(change) > position(row)


def _same_key(captured: CapturedTable, left: str, right: str) -> Column:
    condition = F.lit(True)
    for key in captured.keys:
        condition = condition & (F.col(f"{left}.{key}") == F.col(f"{right}.{key}"))
    return condition


def _remember_deletes(deleted: DeltaTable, live: DataFrame, changes: DataFrame, captured: CapturedTable) -> None:
    gone = changes.where("_is_deleted").alias("gone")
    if gone.isEmpty():
        return
    last_known = live.alias("live")
    rows = gone.join(last_known, on=_same_key(captured, "gone", "live"), how="left").select(
        *[F.col(f"gone.{key}").alias(key) for key in captured.keys],
        *[F.col(f"live.{name}").alias(name) for name in _values(captured)],
        *[F.col(f"gone.{name}").alias(name) for name in captured.silver.columns[len(captured.columns) :]],
        F.col("gone._source_at").alias("_deleted_at"),
    )
    merge = deleted.alias("row").merge(rows.alias("change"), _same_key(captured, "row", "change"))
    merge = merge.whenMatchedUpdateAll(condition=_is_newer("change", "row"))
    merge.whenNotMatchedInsertAll().execute()


def _not_deleted_since(changes: DataFrame, deleted: DataFrame, captured: CapturedTable) -> DataFrame:
    tombstones = deleted.alias("tombstone")
    is_outdated = _same_key(captured, "change", "tombstone") & _is_newer("tombstone", "change")
    return changes.alias("change").join(tombstones, on=is_outdated, how="left_anti")


def _merge_live(live: DeltaTable, changes: DataFrame, captured: CapturedTable) -> None:
    def keep_if_left_out(name: str) -> Column:
        new = F.col(f"change.{name}")
        return F.when(new == UNAVAILABLE, F.col(f"row.{name}")).otherwise(new)

    large = _large_columns(captured)
    updates: dict[str, str | Column] = {
        name: keep_if_left_out(name) if name in large else F.col(f"change.{name}") for name in captured.silver.columns
    }
    # Never the placeholder's text in the table: a value that was never seen is null.
    inserts: dict[str, str | Column] = {
        name: F.nullif(F.col(f"change.{name}"), F.lit(UNAVAILABLE)) if name in large else F.col(f"change.{name}")
        for name in captured.silver.columns
    }
    is_newer = _is_newer("change", "row")
    merge = live.alias("row").merge(changes.alias("change"), _same_key(captured, "row", "change"))
    merge = merge.whenMatchedDelete(condition=is_newer & F.col("change._is_deleted"))
    merge = merge.whenMatchedUpdate(condition=is_newer, set=updates)
    merge.whenNotMatchedInsert(condition=~F.col("change._is_deleted"), values=inserts).execute()


def _forget_revived(deleted: DeltaTable, changes: DataFrame, captured: CapturedTable) -> None:
    """A key that was inserted again after its delete is live: its row leaves the table of deleted ones."""
    revived = changes.where("not _is_deleted").alias("change")
    is_revived = _same_key(captured, "row", "change") & _is_newer("change", "row")
    if not deleted.toDF().alias("row").join(revived, on=is_revived, how="left_semi").isEmpty():
        deleted.alias("row").merge(revived, is_revived).whenMatchedDelete().execute()
