"""The commits of a merge, each of which changes only rows that become others."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from batch import fold
from batch.heads import Silver, sent
from batch.kept import kept
from batch.merge_memory import application
from lakehouse.delta_io import Mark
from lakehouse.edit import PLACE, PLACE_TYPE, Edit
from lakehouse.kill_points import reach
from lakehouse.tables import CapturedTable

HISTORY_KEY = "_from_position"
BEGAN = ("valid_from", HISTORY_KEY, "_unresolved_columns", PLACE)
"""What a row of the history does not share with its head: that may have changed since, in columns that have none."""


@dataclass(frozen=True)
class Folded:
    """The states of all rows that a merge touches."""

    states: DataFrame
    anew: DataFrame | None
    """The keys whose states come from all of Bronze; None where there is none. The others go on from their heads."""
    heads: DataFrame
    """What Silver holds of all these keys."""


@dataclass(frozen=True)
class Counts:
    """How many rows a merge changes, where they stood, and how many of them are gone, gone again, and live again."""

    rows: int
    places: int
    gone: int
    gone_again: int
    revived: int


def write(silver: Silver, folded: Folded, number: int) -> None:
    """Write what the states make of deletes, history and live rows, as the merge of this number."""
    table, states = silver.table, folded.states
    mark = Mark(application(table), number)
    if table.has_history:
        states = kept(states)
    changed = _changed(fold.newest(states, table), folded.heads, table, folded.anew is not None)
    changed = kept(changed.withColumn("_merged_at", F.current_timestamp()))
    found = _counted(changed)
    if found.gone:
        _remember_deletes(silver, changed.where("is_gone"), found, mark)
    reach("between_silver_targets")
    if silver.history is not None:
        _write_history(silver.history, table, states, folded.anew, mark)
    reach("between_silver_targets")
    _write_live(silver.live, changed, found, mark)
    if found.revived:
        _forget_revived(silver, changed)


def _counted(changed: DataFrame) -> Counts:
    is_remembered = F.col("_is_remembered")
    row = changed.agg(
        F.count(F.lit(1)).alias("rows"),
        F.coalesce(F.sum(F.size("_places")), F.lit(0)).alias("places"),
        F.count_if("is_gone").alias("gone"),
        F.count_if(F.col("is_gone") & is_remembered).alias("gone_again"),
        F.count_if(~F.col("is_gone") & is_remembered).alias("revived"),
    ).first()
    assert row is not None
    return Counts(row["rows"], row["places"], row["gone"], row["gone_again"], row["revived"])


def _changed(newest: DataFrame, heads: DataFrame, table: CapturedTable, is_folded_anew: bool) -> DataFrame:
    """The newest states with `_is_remembered` and `_places`; where keys were folded anew only those that differ from
    what Silver holds: that often ends where it was.
    """
    keys = list(table.keys)
    beside = {
        "_is_remembered": F.coalesce("_is_remembered", F.lit(False)),
        "_places": F.coalesce("_places", F.array().cast(f"array<{PLACE_TYPE}>")),
    }
    if not is_folded_anew:
        return newest.join(heads.select(*keys, *beside), on=keys, how="left").withColumns(beside)
    compared = (*table.values, "_position", "_offset", "_source_at", "_unresolved_columns")
    names = {"_unresolved_columns": "_left_out"}
    held = F.struct(
        *[_comparable(names.get(name, name), table).alias(name) for name in compared],
        (F.col("op") == fold.GONE_HEAD).alias("is_gone"),
    )
    found = F.struct(*[_comparable(name, table).alias(name) for name in compared], F.col("is_gone"))
    joined = newest.join(heads.select(*keys, *beside, held.alias("_held")), on=keys, how="left").withColumns(beside)
    # A row that stands there twice becomes one again.
    is_other = ~found.eqNullSafe(F.col("_held")) | (F.size("_places") > 1)
    return joined.where(is_other).drop("_held")


def _comparable(name: str, table: CapturedTable) -> Column:
    return fold.comparable(name, table.columns) if name in table.columns.names else F.col(name)


def _remember_deletes(silver: Silver, gone: DataFrame, found: Counts, mark: Mark) -> None:
    deleted, keys = silver.deleted, list(silver.table.keys)
    if found.gone_again:
        again = sent(gone.select(*keys), found.gone)
        deleted.take_away(deleted.rows().join(again, on=keys, how="left_semi"))
    deleted.write(gone.withColumn("_deleted_at", F.col("_source_at")).select(*deleted.columns))
    deleted.commit_once(mark)


def _forget_revived(silver: Silver, changed: DataFrame) -> None:
    """A row that was inserted again after its delete is live: it leaves the deleted ones, last of all."""
    deleted, keys = silver.deleted.anew(), list(silver.table.keys)
    revived = changed.where("not is_gone and _is_remembered").select(*keys, F.col("_position").alias("_revived"))
    # A delete behind it would be another merge's.
    deleted.take_away(deleted.rows().join(revived, on=keys).where("_position < _revived"))
    deleted.commit({})


def _write_live(live: Edit, changed: DataFrame, found: Counts, mark: Mark) -> None:
    if found.places:
        live.take_away(changed.select(F.explode("_places").alias(PLACE)))
    if found.rows > found.gone:
        live.write(changed.where("not is_gone").select(*live.columns))
    # Also where what was read changes no row: the table has to say that it was.
    live.commit_once(mark)


def _write_history(history: Edit, table: CapturedTable, states: DataFrame, anew: DataFrame | None, mark: Mark) -> None:
    keys = list(table.keys)
    spans = fold.intervals(states, table).withColumn("_merged_at", F.current_timestamp())
    if anew is None:
        rows = _going_on(spans, table)
    else:
        before = history.rows().join(anew, on=keys, how="left_semi")
        going_on = _going_on(spans.join(anew, on=keys, how="left_anti"), table)
        rows = going_on.unionByName(_anew(spans.join(anew, on=keys, how="left_semi"), before, table))
    rows = kept(rows)
    does = {row["_does"]: row["count"] for row in rows.groupBy("_does").count().collect()}
    gone, new = rows.where("_does in ('remove', 'replace')"), rows.where("_does in ('insert', 'replace')")
    if "close" in does:
        closed = _closed(history, rows.where("_does = 'close'"), does["close"], table)
        gone, new = gone.select(PLACE).unionByName(closed.select(PLACE)), new.drop("_does").unionByName(closed)
    if does.keys() - {"insert"}:
        history.take_away(gone)
    if does.keys() - {"remove"}:
        history.write(new.select(*history.columns))
    history.commit_once(mark)


def _closed(history: Edit, closing: DataFrame, count: int, table: CapturedTable) -> DataFrame:
    """The current rows of these keys, closed. Their values are those of the head, and are not read again."""
    keys = list(table.keys)
    current = history.rows().where("is_current").select(*keys, *BEGAN)
    found = current.join(sent(closing.select(*keys), count), on=keys, how="left_semi")
    return kept(closing.drop(*BEGAN, "_does").join(found, on=keys))


def _going_on(spans: DataFrame, table: CapturedTable) -> DataFrame:
    """Rows behind a head: the span that began with it is there already, and is closed where another follows."""
    does = F.when(~F.col("is_head"), F.lit("insert")).when(F.col("_to_position").isNotNull(), F.lit("close"))
    nowhere = F.lit(None).cast(PLACE_TYPE).alias(PLACE)
    return spans.withColumn("_does", does).where("_does is not null").select(*table.history.columns, "_does", nowhere)


def _anew(spans: DataFrame, before: DataFrame, table: CapturedTable) -> DataFrame:
    """The difference between the spans that should be there and those that are, as rows with what to do."""
    identity = [*table.keys, HISTORY_KEY]
    compared = [name for name in table.history.columns if name not in (*identity, "_merged_at")]
    state = F.struct(*[_comparable(name, table).alias(name) for name in compared])
    # A row that stands there twice becomes one again: only the first is compared.
    copy = F.row_number().over(Window.partitionBy(*identity).orderBy(PLACE))
    wanted = spans.withColumns({"_state": state, "_copy": F.lit(1)}).select(*table.history.columns, "_state", "_copy")
    held = before.withColumns({"_held": state, "_copy": copy}).select(*identity, "_copy", "_held", PLACE)
    joined = wanted.join(held, on=[*identity, "_copy"], how="full_outer")
    does = (
        F.when(F.col("_held").isNull(), F.lit("insert"))
        .when(F.col("_state").isNull(), F.lit("remove"))
        .when(~F.col("_state").eqNullSafe(F.col("_held")), F.lit("replace"))
    )
    rows = joined.withColumn("_does", does).where("_does is not null")
    return rows.select(*table.history.columns, "_does", PLACE)
