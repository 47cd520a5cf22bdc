"""Which keys a merge can take further from what Silver holds, and which it must fold anew from all of Bronze.

Nearly all changes of a night are newer than what Silver holds of their key: then that row (its head) stands for all of
the past. A key is folded anew where it does not: a change that is late or came twice, a value that is not known, a row
that got another key.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

from batch.change_order import is_first_after_snapshot, is_snapshot_row, positioned
from batch.fold import HEAD, events
from batch.kept import kept
from batch.left_out import large_columns, names_left_out
from batch.unmergeable import reasons
from lakehouse.tables import CapturedTable

FEW_KEYS = 200
"""So many keys are named in the filter of Bronze, which then skips files by their statistics."""


@dataclass(frozen=True)
class Scope:
    """The keys of a merge."""

    heads: DataFrame
    """What Silver holds of the touched keys (`heads`)."""
    anew: DataFrame
    """The keys that are folded anew."""
    anew_count: int
    has_gaps: bool
    """Whether a change of the other keys leaves values out."""


def touched_keys(changes: DataFrame, table: CapturedTable) -> DataFrame:
    """The keys of positioned changes, with what decides how they are merged."""
    left_out = names_left_out(table).isNotNull()
    rows = changes.where(F.col("op") != "t")
    return rows.groupBy(*[F.col("key")[key].alias(key) for key in table.keys]).agg(
        F.min("_position").alias("_first"),
        F.bool_or(left_out).alias("_has_gaps"),
        F.bool_or((F.col("op") == "c") & left_out).alias("_is_moved"),
        F.bool_or(is_first_after_snapshot()).alias("_is_first"),
        F.bool_or(is_snapshot_row() & F.col("commit_lsn").isNull()).alias("_is_read"),
        F.bool_or(is_snapshot_row() & (F.col("snapshot") == "incremental")).alias("_is_asked_for"),
    )


def decide(touched: DataFrame, held: DataFrame, table: CapturedTable, all_anew: bool) -> Scope:
    """Divide the touched keys; with `all_anew` all of them are folded anew."""
    head = held.select(
        *table.keys,
        F.col("_position").alias("_head"),
        ((F.col("op") == HEAD) & F.col("_left_out").isNull()).alias("_is_whole"),
    )
    known = touched.join(head, on=list(table.keys), how="left")
    is_late = F.coalesce(F.col("_first") <= F.col("_head"), F.lit(False))
    is_unknown = F.col("_has_gaps") & ~F.coalesce(F.col("_is_whole"), F.lit(False))
    # The place of a change that had no commit before it may depend on a snapshot's row that comes only now.
    had_no_commit = F.col("_head")["is_change"] & (F.col("_head")["commit_lsn"] >= F.col("_head")["lsn"])
    is_placed = F.col("_is_read") & F.coalesce(had_no_commit, F.lit(False))
    # Rows are read again where Silver may be wrong: the head is not to be trusted, nor the history behind it.
    is_asked_for = F.coalesce("_is_asked_for", F.lit(False))
    is_anew = (
        F.lit(all_anew) | is_late | F.col("_is_moved") | F.col("_is_first") | is_unknown | is_placed | is_asked_for
    )
    judged = known.withColumn("_is_anew", is_anew)
    counts = judged.agg(
        F.count_if("_is_anew").alias("anew"),
        F.count_if(F.col("_has_gaps") & ~F.col("_is_anew")).alias("gaps"),
    ).first()
    assert counts is not None
    anew = judged.where("_is_anew").select(*table.keys)
    return Scope(held, anew, counts["anew"], bool(counts["gaps"]))


class Past:
    """All changes of Bronze up to the cut, by their keys."""

    def __init__(self, bronze: DataFrame, table: CapturedTable, incarnations: list[str]) -> None:
        name = F.col("source_incarnation")
        # Of a life that nobody has opened yet nothing is merged.
        self._bronze = bronze.where(name.isNull() | name.isin(*incarnations))
        self._table, self._incarnations = table, incarnations

    def of(self, keys: DataFrame | None) -> DataFrame:
        """All mergeable changes of some keys (None: of all), as events of the fold."""
        rows = self._bronze if keys is None else self._with_keys(keys)
        placed = positioned(rows, self._table, self._incarnations, has_whole_keys=True)
        return events(placed.where(reasons(self._table).isNull()), self._table)

    def with_moved(self, keys: DataFrame) -> DataFrame:
        """The keys, and those that their rows had before or got later where large values were taken along."""
        if not large_columns(self._table):
            return keys
        known, count = keys, -1
        while count != (now := known.count()):
            count, known = now, kept(known.unionByName(self._moved(known)).distinct())
        return known

    def takers_from(self, changes: DataFrame) -> DataFrame | None:
        """The keys of rows that took large values along from a row whose delete comes only now; None for no delete."""
        if not large_columns(self._table):
            return None
        deletes = changes.where("op = 'd'").select("source_incarnation", "lsn").distinct()
        span = deletes.agg(F.min("lsn").alias("first"), F.max("lsn").alias("last")).first()
        if span is None or span["first"] is None:
            return None
        # By the range, so that Delta skips the files of other times.
        near = self._bronze.where(F.col("lsn").between(span["first"], span["last"]) & (F.col("op") == "c"))
        found = kept(self._at(near.where(names_left_out(self._table).isNotNull()), deletes))
        return None if found.isEmpty() else found

    def _at(self, rows: DataFrame, places: DataFrame) -> DataFrame:
        """The keys of rows at one of the places (`source_incarnation`, `lsn`)."""
        same = [F.col(f"moved.{name}").eqNullSafe(F.col(f"places.{name}")) for name in places.columns]
        found = rows.alias("moved").join(places.alias("places"), on=same, how="left_semi")
        return found.where("key is not null").select(*[F.col("key")[key].alias(key) for key in self._table.keys])

    def _moved(self, keys: DataFrame) -> DataFrame:
        rows = self._with_keys(keys)
        place = ("source_incarnation", "lsn")
        left = rows.where((F.col("op") == "d") | ((F.col("op") == "c") & names_left_out(self._table).isNotNull()))
        places = left.select(*place).distinct()
        there = self._bronze.where(F.col("op").isin("c", "d"))
        if (few := _few(places, list(place))) is not None:
            there = there.where(F.col("lsn").isin(*{row["lsn"] for row in few}))
        return self._at(there, places)

    def _with_keys(self, keys: DataFrame) -> DataFrame:
        rows = self._bronze.where("key is not null")
        # An array is no literal of `isin`, and has no statistics.
        named = [key for key in self._table.keys if not isinstance(self._table.columns[key].dataType, ArrayType)]
        if named and (few := _few(keys, named)) is not None:
            rows = rows.where(reduce(Column.__and__, [_is_among(name, few) for name in named]))
        same = [F.col("past.key")[key] == F.col(f"wanted.{key}") for key in self._table.keys]
        return rows.alias("past").join(keys.alias("wanted"), on=same, how="left_semi")


def _few(rows: DataFrame, names: list[str]) -> list[Row] | None:
    """The rows, or None for too many."""
    found = rows.select(*names).limit(FEW_KEYS + 1).collect()
    return found if len(found) <= FEW_KEYS else None


def _is_among(name: str, few: list[Row]) -> Column:
    return F.col("key")[name].isin(*{row[name] for row in few})
