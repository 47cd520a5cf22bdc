"""One merge of a captured table: new rows of Bronze -> `silver.<table>`, its history, and the memory of its deletes.

Order of the commits: what the merge is about to do, the deletes, the history, the live rows. Each of the first three
may be there alone after a crash, and no reader of the live table sees anything of it; the last makes the merge true.
"""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from batch import fold, incarnations, merge_memory, merge_write, unmergeable
from batch.change_order import positioned
from batch.heads import Silver, as_events, sent
from batch.kept import kept
from batch.left_out import large_columns
from batch.merge_input import Input
from batch.merge_memory import Memory
from batch.merge_scope import Past, Scope, decide, touched_keys
from batch.merge_write import Folded
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable

log = get_logger(__name__)


def merge(spark: SparkSession, settings: Settings, silver: Silver, taken: Input) -> None:
    """Merge the rows that were taken. Raises `UnknownIncarnation` and `TableChanged`."""
    table = silver.table
    opened = incarnations.require(spark, settings, taken.incarnations)
    placed = positioned(taken.changes, table, opened)
    touched = kept(touched_keys(placed.where("_reasons is null"), table))
    held = silver.heads(sent(touched, taken.count))
    good, quarantined = placed.where("_reasons is null"), 0
    if taken.unmergeable or (taken.memory.horizon is not None and not taken.is_again):
        judged = _without_forgotten(placed, held, taken.memory, table)
        good = judged.where("_reasons is null")
        quarantined = unmergeable.keep(judged.where("_reasons is not null"), table, settings)
        touched = touched_keys(good, table)
    scope = decide(touched, held, table, taken.is_again)
    memory = _next(taken, good)
    past = Past(taken.bronze, table, opened)
    if taken.has_truncates or not memory.is_whole:
        folded = _all(silver, past, memory, touched)
    else:
        takers = past.takers_from(good) if taken.memory.has_moved_rows else None
        folded = _touched(silver, good, scope, past, memory, takers)
    counts = {"events": taken.count, "refolded_keys": scope.anew_count, "quarantined": quarantined}
    merge_memory.remember(spark, table, settings, memory, **counts)
    log.info("merge_begins", table=table.silver.name, merge=memory.merge, **counts)
    merge_write.write(silver, folded, memory.merge)


def _next(taken: Input, good: DataFrame) -> Memory:
    before = taken.memory
    truncates = before.truncates
    if taken.has_truncates:
        new = good.where("op = 't'").select("_position", F.col("source_at").alias("_source_at"))
        # A truncate that was delivered twice is one.
        truncates = tuple({row["_position"]: row for row in (*truncates, *new.collect())}.values())
    has_moved = before.has_moved_rows or taken.has_moved_rows
    return replace(before, merge=before.last_number + 1, truncates=truncates, has_moved_rows=has_moved)


def _without_forgotten(placed: DataFrame, held: DataFrame, memory: Memory, table: CapturedTable) -> DataFrame:
    """Name the changes below the purge horizon whose key Silver does not know: was it deleted? Nobody remembers."""
    if memory.horizon is None:
        return placed
    known = held.select(F.struct(*table.keys).alias("_known_key"))
    is_below = (F.col("op") != "t") & (F.col("_position") <= merge_memory.literal(memory.horizon))
    joined = placed.join(known, on=F.col("key") == F.col("_known_key"), how="left")
    is_forgotten = F.col("_reasons").isNull() & is_below & F.col("_known_key").isNull()
    named = F.when(is_forgotten, F.array(F.lit("below_purge_horizon"))).otherwise(F.col("_reasons"))
    return joined.withColumn("_reasons", named).drop("_known_key")


def truncates_of(spark: SparkSession, memory: Memory, table: CapturedTable) -> DataFrame | None:
    """Position and time of the truncates that a table's merges know; None where there was none."""
    if not memory.truncates:
        return None
    kind = table.merges.schema["truncates"].dataType.elementType  # type: ignore[attr-defined]
    return spark.createDataFrame([tuple(one) for one in memory.truncates], kind)


def _touched(
    silver: Silver, good: DataFrame, scope: Scope, past: Past, memory: Memory, takers: DataFrame | None
) -> Folded:
    """The touched keys: most go on from their heads, the others are folded anew from all of Bronze."""
    table, spark = silver.table, silver.live.spark
    new = fold.events(good, table)
    held = as_events(scope.heads)
    truncates = truncates_of(spark, memory, table)
    if not scope.anew_count and takers is None:
        states = fold.states(new.unionByName(held), table, truncates, scope.has_gaps)
        return Folded(states, None, scope.heads)
    keys = list(table.keys)
    anew = kept(past.with_moved(scope.anew if takers is None else scope.anew.unionByName(takers).distinct()))
    going_on = new.unionByName(held).join(anew, on=keys, how="left_anti")
    states = fold.states(going_on.unionByName(past.of(anew)), table, truncates, bool(large_columns(table)))
    touched = going_on.select(*keys).unionByName(anew).distinct()
    return Folded(states, anew, silver.heads(touched))


def _all(silver: Silver, past: Past, memory: Memory, placed: DataFrame) -> Folded:
    """All keys: a truncate ends each row that is older, wherever it stands in the order of arrival, and what an attempt
    that was cut off has left in the history is not known.
    """
    table, keys, heads = silver.table, list(silver.table.keys), silver.heads(None)
    known = past.of(None)
    in_history = None if silver.history is None else silver.history.rows().select(*keys)
    if memory.horizon is not None:
        # What this merge takes is placed, also below the horizon: it was judged, or is merged again.
        forgotten = _forgotten(known, heads, memory.horizon, table).join(placed, on=keys, how="left_anti")
        if silver.history is not None:
            # A merge was cut off that had placed it, or had not yet taken it away.
            current = silver.history.rows().where("is_current").select(*keys)
            forgotten = kept(forgotten.join(current, on=keys, how="left_anti"))
        known = known.join(forgotten, on=keys, how="left_anti")
        in_history = in_history.join(forgotten, on=keys, how="left_anti") if in_history is not None else None
    only_in_silver = as_events(heads).join(known.select(*keys).distinct(), on=keys, how="left_anti")
    events = known.unionByName(only_in_silver)
    truncates = truncates_of(silver.live.spark, memory, table)
    states = fold.states(events, table, truncates, bool(large_columns(table)))
    touched = events.select(*keys)
    if in_history is not None:
        touched = touched.unionByName(in_history)
    return Folded(states, kept(touched.distinct()), heads)


def _forgotten(known: DataFrame, heads: DataFrame, horizon: Row, table: CapturedTable) -> DataFrame:
    """The keys that Silver does not know any more and that have no change above the purge horizon."""
    keys = list(table.keys)
    absent = known.join(heads.select(*keys), on=keys, how="left_anti")
    last = absent.groupBy(*keys).agg(F.max("_position").alias("_last"))
    return kept(last.where(F.col("_last") <= merge_memory.literal(horizon)).select(*keys))
