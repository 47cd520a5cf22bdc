"""The commits of a merge, each of which changes only rows that become others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from batch import fold
from batch.merge_memory import application
from lakehouse import delta_io
from lakehouse.append import Append
from lakehouse.delta_io import Mark
from lakehouse.kill_points import reach
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable, TableSpec

HISTORY_KEY = "_from_position"
FROM_CHECKPOINT = {
    # What is merged is a checkpoint already: Delta need not keep it a second time.
    "spark.databricks.delta.merge.materializeSource": "none",
    # Else Spark keeps new rows out of the first of two reads, and Delta warns of a source that changes.
    "spark.sql.optimizer.runtime.bloomFilter.enabled": "false",
}


@dataclass(frozen=True)
class Counts:
    """How many rows a merge changes, and how many of them are gone, gone again, and live again."""

    rows: int
    gone: int
    gone_again: int
    revived: int


def write(
    spark: SparkSession,
    settings: Settings,
    table: CapturedTable,
    states: DataFrame,
    heads: DataFrame,
    anew: DataFrame | None,
    number: int,
) -> None:
    """Write what the states make of deletes, history and live rows. `anew`: keys whose states are all there."""
    mark = Mark(application(table), number)
    if table.has_history:
        # Kept without its plan, which each step behind would analyse again.
        states = states.localCheckpoint()
    changed = _changed(fold.newest(states, table), heads, table, anew is not None)
    changed = changed.withColumn("_merged_at", F.current_timestamp()).localCheckpoint()
    found = _counted(changed)
    if found.gone:
        _remember_deletes(spark, settings, table, changed.where("is_gone"), found, mark)
    reach("between_silver_targets")
    if table.has_history:
        _write_history(spark, settings, table, states, anew, mark)
    reach("between_silver_targets")
    if found.rows:
        _write_live(spark, settings, table, changed, mark)
    else:
        _commit_nothing(spark, table.silver, settings, mark)
    if found.revived:
        _forget_revived(spark, settings, table, changed)


def _counted(changed: DataFrame) -> Counts:
    is_remembered = F.col("_is_remembered")
    row = changed.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if("is_gone").alias("gone"),
        F.count_if(F.col("is_gone") & is_remembered).alias("gone_again"),
        F.count_if(~F.col("is_gone") & is_remembered).alias("revived"),
    ).first()
    assert row is not None
    return Counts(row["rows"], row["gone"], row["gone_again"], row["revived"])


def _changed(newest: DataFrame, heads: DataFrame, table: CapturedTable, is_folded_anew: bool) -> DataFrame:
    """The newest states with `_is_remembered`; where keys were folded anew only those that differ from what Silver
    holds: that often ends where it was.
    """
    is_remembered = F.coalesce("_is_remembered", F.lit(False))
    if not is_folded_anew:
        known = heads.select(*table.keys, "_is_remembered")
        return newest.join(known, on=list(table.keys), how="left").withColumn("_is_remembered", is_remembered)
    compared = (*table.values, "_position", "_offset", "_unresolved_columns")
    names = {"_unresolved_columns": "_left_out"}
    held = heads.select(
        *table.keys,
        "_is_remembered",
        F.struct(
            *[_comparable(names.get(name, name), table).alias(name) for name in compared],
            (F.col("op") == fold.GONE_HEAD).alias("is_gone"),
        ).alias("_held"),
    )
    found = F.struct(*[_comparable(name, table).alias(name) for name in compared], F.col("is_gone"))
    joined = newest.join(held, on=list(table.keys), how="left")
    differing = joined.where(~found.eqNullSafe(F.col("_held"))).drop("_held")
    return differing.withColumn("_is_remembered", is_remembered)


def _comparable(name: str, table: CapturedTable) -> Column:
    return fold.comparable(name, table.columns) if name in table.columns.names else F.col(name)


def _same_key(table: CapturedTable) -> Column:
    return reduce(Column.__and__, [F.col(f"row.{key}") == F.col(f"change.{key}") for key in table.keys])


def _remember_deletes(
    spark: SparkSession, settings: Settings, table: CapturedTable, gone: DataFrame, found: Counts, mark: Mark
) -> None:
    gone = gone.withColumn("_deleted_at", F.col("_source_at")).select(*table.deleted.columns)
    if not found.gone_again:
        delta_io.append_once(gone, table.deleted, settings, mark)
        return
    with delta_io.marked(spark, mark):
        deleted = delta_io.table(spark, table.deleted, settings).alias("row")
        merge = deleted.merge(gone.alias("change"), _same_key(table))
        merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()


def _forget_revived(spark: SparkSession, settings: Settings, table: CapturedTable, changed: DataFrame) -> None:
    """A row that was inserted again after its delete is live: it leaves the deleted ones, last of all."""
    revived = changed.where("not is_gone and _is_remembered").select(*table.keys)
    deleted = delta_io.table(spark, table.deleted, settings).alias("row")
    deleted.merge(revived.alias("change"), _same_key(table)).whenMatchedDelete().execute()


def _write_live(spark: SparkSession, settings: Settings, table: CapturedTable, changed: DataFrame, mark: Mark) -> None:
    columns: dict[str, str | Column] = {name: F.col(f"change.{name}") for name in table.silver.columns}
    with delta_io.marked(spark, mark), delta_io.settings_of(spark, FROM_CHECKPOINT):
        live = delta_io.table(spark, table.silver, settings).alias("row")
        merge = live.merge(changed.alias("change"), _same_key(table))
        merge = merge.whenMatchedDelete(condition="change.is_gone").whenMatchedUpdate(set=columns)
        merge.whenNotMatchedInsert(condition="not change.is_gone", values=columns).execute()


def _write_history(
    spark: SparkSession,
    settings: Settings,
    table: CapturedTable,
    states: DataFrame,
    anew: DataFrame | None,
    mark: Mark,
) -> None:
    spans = fold.intervals(states, table).withColumn("_merged_at", F.current_timestamp())
    if anew is None:
        rows = _going_on(spans, table)
    else:
        keys = list(table.keys)
        before = delta_io.read(spark, table.history, settings).join(anew, on=keys, how="left_semi")
        going_on = _going_on(spans.join(anew, on=keys, how="left_anti"), table)
        rows = going_on.unionByName(_anew(spans.join(anew, on=keys, how="left_semi"), before, table))
    rows = rows.localCheckpoint()
    if rows.isEmpty():
        _commit_nothing(spark, table.history, settings, mark)
        return
    columns: dict[str, str | Column] = {name: F.col(f"change.{name}") for name in table.history.columns}
    closing: dict[str, str | Column] = {
        name: columns[name] for name in ("valid_to", "is_current", "_to_position", "_merged_at")
    }
    is_closed = F.col("row.is_current") & (F.col("change._does") == "close")
    is_replaced = F.col("change._does").isin("replace", "remove") & (
        F.col(f"row.{HISTORY_KEY}") == F.col(f"change.{HISTORY_KEY}")
    )
    # Only the current rows are read where no row is folded anew.
    target = F.col("row.is_current") & is_closed if anew is None else is_closed | is_replaced
    with delta_io.marked(spark, mark), delta_io.settings_of(spark, FROM_CHECKPOINT):
        history = delta_io.table(spark, table.history, settings).alias("row")
        merge = history.merge(rows.alias("change"), _same_key(table) & target)
        merge = merge.whenMatchedDelete(condition="change._does = 'remove'")
        merge = merge.whenMatchedUpdate(condition="change._does = 'close'", set=closing)
        merge = merge.whenMatchedUpdate(set=columns)
        merge.whenNotMatchedInsert(condition="change._does = 'insert'", values=columns).execute()


def _commit_nothing(spark: SparkSession, spec: TableSpec, settings: Settings, mark: Mark) -> None:
    # What was read changes no row: the table still has to say that it was.
    Append(spark, spec, settings).commit({mark.application: mark.batch}, "")


def _going_on(spans: DataFrame, table: CapturedTable) -> DataFrame:
    """Rows behind a head: the span that began with it is there already, and is closed where another follows."""
    does = F.when(~F.col("is_head"), F.lit("insert")).when(F.col("_to_position").isNotNull(), F.lit("close"))
    return spans.withColumn("_does", does).where("_does is not null").select(*table.history.columns, "_does")


def _anew(spans: DataFrame, before: DataFrame, table: CapturedTable) -> DataFrame:
    """The difference between the spans that should be there and those that are, as rows with what to do."""
    identity = [*table.keys, HISTORY_KEY]
    compared = [name for name in table.history.columns if name not in (*identity, "_merged_at")]
    state = F.struct(*[_comparable(name, table).alias(name) for name in compared])
    wanted = spans.withColumn("_state", state).select(*table.history.columns, "_state")
    held = before.withColumn("_held", state).select(*identity, "_held")
    joined = wanted.join(held, on=identity, how="full_outer")
    does = (
        F.when(F.col("_held").isNull(), F.lit("insert"))
        .when(F.col("_state").isNull(), F.lit("remove"))
        .when(~F.col("_state").eqNullSafe(F.col("_held")), F.lit("replace"))
    )
    return joined.withColumn("_does", does).where("_does is not null").select(*table.history.columns, "_does")
