"""Changes of some keys -> the states that their rows went through, whatever the order in which the changes arrived.

The fold is a function of the set of changes: the same for a clean rebuild from Bronze and for the changes of one night
behind what Silver holds already (the head of each key).
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import MapType, StructType
from pyspark.sql.window import WindowSpec

from batch.kept import kept
from batch.left_out import is_named, large_columns, names_left_out, value_after, without
from lakehouse.tables import CapturedTable

HEAD = "head"
"""The `op` of what Silver holds of a key: the state that a merge goes on from."""
GONE_HEAD = "gone_head"
"""The same where the row is deleted; it has the values that the row had last."""
GONE = ("d", "t", GONE_HEAD)


def events(changes: DataFrame, table: CapturedTable) -> DataFrame:
    """Rows of `bronze.<table>_changes` with their `_position` -> one row per change of a row: keys, op, values (null
    where left out), `_left_out` (names), `_position`, `_offset`, `_source_at`. Truncates have no key and are not among
    them.
    """
    is_gone = F.col("op") == "d"
    return changes.where(F.col("op").isin("r", "c", "u", "d")).select(
        *[F.col("key")[key].alias(key) for key in table.keys],
        "op",
        # The `before` of a delete is not used: under REPLICA IDENTITY DEFAULT its values are invented.
        *[F.when(~is_gone, value_after(table.columns[name])).alias(name) for name in table.values],
        F.when(~is_gone, names_left_out(table)).alias("_left_out"),
        "_position",
        "_offset",
        F.col("source_at").alias("_source_at"),
    )


def states(changes: DataFrame, table: CapturedTable, truncates: DataFrame | None, has_gaps: bool) -> DataFrame:
    """Events of some keys (`events`, heads among them) -> one row per change, with the state after it.

    Gives keys, op, values, `_unresolved_columns` (left out, and no real value is known), `is_gone`, `_position`,
    `_offset`, and `_source_at` made monotone. `truncates` has `_position` and `_source_at`, and ends every row that is
    older. `has_gaps`: whether any event leaves values out; without, nothing is searched.
    """
    every = _with_truncates(changes, table, truncates) if truncates is not None else changes
    # Delivered twice, or corrected at the same position: the later delivery counts.
    newest_first = Window.partitionBy(*table.keys, "_position").orderBy(F.col("_offset").desc())
    once = every.withColumn("_rank", F.row_number().over(newest_first)).where("_rank = 1").drop("_rank")
    filled = _filled(_carried(once, table), table) if has_gaps else once
    # Two sessions' clocks may differ: a later change is not shown as the earlier one.
    monotone = F.max("_source_at").over(_in_order(table))
    return filled.withColumns({"is_gone": F.col("op").isin(*GONE), "_source_at": monotone}).withColumnRenamed(
        "_left_out", "_unresolved_columns"
    )


def newest(versions: DataFrame, table: CapturedTable) -> DataFrame:
    """The last state of each key, with `is_gone`; one that is gone has the values that it had last."""
    has_values = ~F.col("is_gone") | (F.col("op") == GONE_HEAD)
    last_known = F.last(F.when(has_values, F.struct(*table.values)), ignorenulls=True).over(_in_order(table))
    last = Window.partitionBy(*table.keys).orderBy(F.col("_position").desc())
    ranked = versions.withColumns({"_known": last_known, "_rank": F.row_number().over(last)}).where("_rank = 1")
    values = [F.col("_known")[name].alias(name) for name in table.values]
    rest = ("_position", "_offset", "_source_at", "_unresolved_columns", "is_gone")
    return ranked.select(*table.keys, *values, *rest)


def intervals(versions: DataFrame, table: CapturedTable) -> DataFrame:
    """The times during which each row stayed the same: the columns of `silver.<table>_history` but `_merged_at`, and
    `is_head` for one that began with what Silver holds already.
    """
    tracked = [name for name in table.history.columns if name in table.values]
    state = F.when(~F.col("is_gone"), F.struct(*[comparable(name, table.columns) for name in tracked]))
    in_order = _in_order(table)
    before = F.lag(F.struct(F.col("_state").alias("state"))).over(in_order)
    # No row before is as good as a row that is gone.
    is_new = ~before["state"].eqNullSafe(F.col("_state"))
    starts = versions.withColumn("_state", state).withColumn("_is_new", is_new).where("_is_new")
    spans = starts.withColumns(
        {"valid_to": F.lead("_source_at").over(in_order), "_to_position": F.lead("_position").over(in_order)}
    )
    return spans.where(~F.col("is_gone")).select(
        *[name for name in table.history.columns if name in table.columns.names],
        F.col("_source_at").alias("valid_from"),
        "valid_to",
        F.col("_to_position").isNull().alias("is_current"),
        F.col("_position").alias("_from_position"),
        "_to_position",
        "_unresolved_columns",
        (F.col("op") == HEAD).alias("is_head"),
    )


def _in_order(table: CapturedTable) -> WindowSpec:
    return Window.partitionBy(*table.keys).orderBy("_position")


def comparable(name: str, columns: StructType) -> Column:
    """The column in a form that can be compared."""
    # Maps can't be compared; their entries in the order of the keys can, and deeper ones as text.
    if isinstance(columns[name].dataType, MapType):
        return F.array_sort(F.map_entries(name)).alias(name)
    if "map<" in columns[name].dataType.simpleString():
        return F.to_json(F.struct(name)).alias(name)
    return F.col(name)


def _with_truncates(changes: DataFrame, table: CapturedTable, truncates: DataFrame) -> DataFrame:
    # What is older than all that is known of a key ends nothing. Truncates are remembered for ever, and may be many.
    keys = changes.groupBy(*table.keys).agg(F.min("_position").alias("_first"))
    given = {
        "op": F.lit("t"),
        "_position": F.col("_position"),
        "_source_at": F.col("_source_at"),
        "_offset": F.lit(-1).cast("bigint"),
    }
    types = {field.name: field.dataType for field in changes.schema}
    ends = keys.crossJoin(F.broadcast(truncates)).where(F.col("_position") > F.col("_first"))
    ends = ends.select(
        *table.keys,
        *[
            given.get(name, F.lit(None).cast(types[name])).alias(name)
            for name in changes.columns
            if name not in table.keys
        ],
    )
    return changes.unionByName(ends)


def _filled(rows: DataFrame, table: CapturedTable) -> DataFrame:
    """Each left-out value is the last real one of the same life of the row; what has none stays in `_left_out`."""
    # An insert has all its values or takes them from another key; behind a delete or a truncate nothing is known.
    begins_life = F.col("op").isin("c", *GONE).cast("int")
    lives = rows.withColumn("_life", F.sum(begins_life).over(_in_order(table)))
    so_far = Window.partitionBy(*table.keys, "_life").orderBy("_position")
    known = {
        name: F.last(
            # Wrapped, so that a real null counts as a value.
            F.when(
                ~F.col("op").isin(*GONE) & ~is_named(name, F.col("_left_out")), F.struct(F.col(name).alias("value"))
            ),
            ignorenulls=True,
        ).over(so_far)
        for name in large_columns(table)
    }
    searched = lives.withColumns({f"_known_{name}": column for name, column in known.items()})
    found = {name: is_named(name, F.col("_left_out")) & F.col(f"_known_{name}").isNotNull() for name in known}
    filled = {name: F.when(found[name], F.col(f"_known_{name}")["value"]).otherwise(F.col(name)) for name in known}
    resolved = [F.when(found[name], F.lit(name)) for name in known]
    searched = searched.withColumns({**filled, "_left_out": without(F.col("_left_out"), resolved)})
    return searched.drop("_life", *[f"_known_{name}" for name in known])


def _carried(rows: DataFrame, table: CapturedTable) -> DataFrame:
    """A row that got another key is an insert beside a delete at the same LSN: it takes the large values along."""
    waiting = _waiting(rows)
    while waiting:
        rows = kept(_move(rows, table))
        left = _waiting(rows)
        if left == waiting:
            break
        waiting = left
    return rows


def _waiting(rows: DataFrame) -> int:
    """How many values rows with a new key still lack."""
    takers = rows.where((F.col("op") == "c") & F.col("_left_out").isNotNull())
    found = takers.agg(F.coalesce(F.sum(F.size("_left_out")), F.lit(0))).first()
    assert found is not None
    return int(found[0])


def _move(rows: DataFrame, table: CapturedTable) -> DataFrame:
    large = large_columns(table)
    before = F.lag(F.when(~F.col("op").isin(*GONE), F.struct("_left_out", *large))).over(_in_order(table))
    place = (F.col("_position")["incarnation"].alias("_incarnation"), F.col("_position")["lsn"].alias("_moved_at"))
    givers = (
        _filled(rows, table)
        .withColumn("_given", before)
        .where((F.col("op") == "d") & F.col("_given").isNotNull())
        .select(*place, F.struct(*table.keys).alias("_old_key"), "_given")
    )
    is_moved = (
        (F.col("op") == "c")
        & F.col("_left_out").isNotNull()
        & (F.col("_position")["incarnation"] == F.col("_incarnation"))
        & (F.col("_position")["lsn"] == F.col("_moved_at"))
        & (F.struct(*table.keys) != F.col("_old_key"))
    )
    joined = rows.join(givers, on=is_moved, how="left")
    given = {
        name: is_named(name, F.col("_left_out"))
        & F.col("_given").isNotNull()
        & ~is_named(name, F.col("_given")["_left_out"])
        for name in large
    }
    values = {name: F.when(given[name], F.col("_given")[name]).otherwise(F.col(name)) for name in large}
    resolved = [F.when(given[name], F.lit(name)) for name in large]
    moved = joined.withColumns({**values, "_left_out": without(F.col("_left_out"), resolved)})
    return moved.select(*rows.columns)
