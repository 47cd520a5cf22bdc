"""The purge horizon: deletes below it are forgotten, so that their memory does not grow for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from batch import merge_memory
from lakehouse import delta_io, lease
from lakehouse.append import Append
from lakehouse.errors import LakehouseError
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import ORDERS, CapturedTable

log = get_logger(__name__)


class MergeUnfinished(LakehouseError):
    """A merge was cut off: what it remembers of deletes does not count yet."""

    def __init__(self, table: str) -> None:
        super().__init__(
            f"The last merge of {table} was cut off. Run `lakehouse batch silver {table}` first, then forget deletes."
        )


def forget_deletes(spark: SparkSession, settings: Settings, table: CapturedTable, before: datetime) -> int:
    """Forget the deletes that happened before a moment (UTC), but for those of rows that an order still names; returns
    how many.

    From then on a change from below the newest of them, of a key that is not there, can't be placed: it goes to the
    quarantine (`below_purge_horizon`). Raises `MergeUnfinished`.
    """
    with lease.hold(lease.of_silver(table.name), settings):
        memory = merge_memory.newest(spark, table, settings)
        if memory.is_cut_off:
            raise MergeUnfinished(table.name)
        deleted = delta_io.table(spark, table.deleted, settings)
        is_old = F.col("_deleted_at") < F.lit(before)
        old = _without_ordered(spark, settings, table, deleted.toDF().where(is_old))
        found = old.agg(F.max("_position").alias("horizon"), F.count(F.lit(1)).alias("rows")).first()
        if found is None or not found["rows"]:
            return 0
        # A history that an attempt left ahead must not look as if it were not.
        is_whole = table.has_history and memory.is_whole
        # First the horizon, then the rows: a crash between the two only remembers too much.
        moved = replace(memory, merge=memory.last_number + 1, horizon=_later(found["horizon"], memory.horizon))
        merge_memory.remember(spark, table, settings, moved, events=0, refolded_keys=0, quarantined=0)
        for spec in (*([table.history] if is_whole else []), table.silver):
            Append(spark, spec, settings).commit({merge_memory.application(table): moved.merge}, "")
        same_key = " and ".join(f"memory.`{key}` = old.`{key}`" for key in table.keys)
        keys = old.select(*table.keys).alias("old")
        deleted.alias("memory").merge(keys, same_key).whenMatchedDelete().execute()
        log.info("deletes_forgotten", table=table.name, rows=found["rows"], before=before)
        return int(found["rows"])


def _without_ordered(spark: SparkSession, settings: Settings, table: CapturedTable, rows: DataFrame) -> DataFrame:
    """The rows that no order names: Gold takes the last known values of the others, a product's category among them,
    which says whether its order lines are revenue.
    """
    is_named_by_orders = table.name != ORDERS.name and set(table.keys) <= set(ORDERS.columns.names)
    if not is_named_by_orders or not delta_io.exists(spark, ORDERS.silver, settings):
        return rows
    orders = delta_io.read(spark, ORDERS.silver, settings).select(*table.keys)
    return rows.join(orders, on=list(table.keys), how="left_anti")


def _later(one: Row, other: Row | None) -> Row:
    return one if other is None else max(one, other)
