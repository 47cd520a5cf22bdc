"""Which rows of Bronze a merge takes: those that no merge has taken and that belong to the cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from batch.left_out import names_left_out
from batch.merge_memory import Memory
from batch.unmergeable import reasons
from lakehouse import delta_io
from lakehouse.append import Append
from lakehouse.positions import begun_again, offsets, still_merged
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut
from lakehouse.tables import CapturedTable


@dataclass(frozen=True)
class Input:
    """The new rows of one version of Bronze, and what is to be remembered when they are merged."""

    bronze: DataFrame
    """All rows up to the cut, those that were merged before among them."""
    changes: DataFrame
    """The new ones of them, with `_reasons` for those that can't be merged; kept on disk until `close`."""
    count: int
    unmergeable: int
    memory: Memory
    """How far Bronze is read with these rows; still with the number of the merge before."""
    incarnations: frozenset[str]
    has_truncates: bool
    has_moved_rows: bool
    """Whether a change takes large values along from a row with another key."""
    _unseen: DataFrame
    is_again: bool = False
    """Whether these are changes that could not be placed before: the purge horizon does not stop them."""

    def close(self) -> None:
        """Let go of the rows."""
        self._unseen.unpersist()


def read(spark: SparkSession, settings: Settings, table: CapturedTable, memory: Memory, cut: SourceCut | None) -> Input:
    """What is new in Bronze. A cut older than that of the last merge is replaced by it: Silver never moves back."""
    cut = _later(cut, memory.cut)
    now = Append(spark, table.changes, settings)
    ends = still_merged(memory.ends, begun_again(now.positions()))
    memory = replace(memory, ends=ends, lowest={name: low for name, low in memory.lowest.items() if name in ends})
    # What an earlier merge took stays, whatever the cut of now can tell of it.
    in_cut = _is_in(cut) | ~_is_unmerged(memory) if cut else F.lit(True)
    bronze = delta_io.read(spark, table.changes, settings, now.version).withColumn("_in_cut", in_cut)
    unseen = bronze.where(_is_unmerged(memory)).withColumn("_reasons", reasons(table))
    unseen = unseen.persist(StorageLevel.DISK_ONLY)
    partitions = unseen.groupBy("_topic", "_partition").agg(*_totals(table)).collect()
    found = _input(bronze.where("_in_cut"), unseen, partitions, replace(_after(memory, partitions), cut=cut))
    return replace(found, changes=unseen.where("_in_cut"))


def given(spark: SparkSession, settings: Settings, table: CapturedTable, memory: Memory, changes: DataFrame) -> Input:
    """The same for rows that were added to Bronze just now, wherever their offsets lie."""
    unseen = changes.withColumns({"_in_cut": F.lit(True), "_reasons": reasons(table)})
    unseen = unseen.persist(StorageLevel.DISK_ONLY)
    partitions = unseen.groupBy("_topic", "_partition").agg(*_totals(table)).collect()
    bronze = delta_io.read(spark, table.changes, settings)
    return _input(bronze, unseen, partitions, memory)


def again(spark: SparkSession, settings: Settings, table: CapturedTable, memory: Memory, changes: DataFrame) -> Input:
    """The same for rows that merges have taken and could not place."""
    found = given(spark, settings, table, memory, changes)
    return replace(found, bronze=merged(spark, settings, table, memory), is_again=True)


def merged(spark: SparkSession, settings: Settings, table: CapturedTable, memory: Memory) -> DataFrame:
    """The rows of Bronze that the merges up to `memory` have taken."""
    bronze = delta_io.read(spark, table.changes, settings)
    # A table that was filled by `given` alone has no offsets: then all is merged.
    return bronze.where(~_is_unmerged(memory)) if offsets(memory.ends) else bronze


def _input(bronze: DataFrame, unseen: DataFrame, partitions: list[Row], memory: Memory) -> Input:
    return Input(
        bronze=bronze,
        changes=unseen,
        count=sum(one["in_cut"] for one in partitions),
        unmergeable=sum(one["unmergeable"] for one in partitions),
        memory=memory,
        incarnations=frozenset(name for one in partitions for name in one["incarnations"]),
        has_truncates=any(one["has_truncates"] for one in partitions),
        has_moved_rows=any(one["has_moved_rows"] for one in partitions),
        _unseen=unseen,
    )


def _totals(table: CapturedTable) -> list[Column]:
    is_moved = F.col("_in_cut") & (F.col("op") == "c") & names_left_out(table).isNotNull()
    is_truncate = F.col("_in_cut") & (F.col("op") == "t")
    return [
        F.count_if("_in_cut").alias("in_cut"),
        F.count_if(F.col("_in_cut") & F.col("_reasons").isNotNull()).alias("unmergeable"),
        (F.max("_offset") + 1).alias("end"),
        F.min(F.when(~F.col("_in_cut"), F.col("_offset"))).alias("first_beyond"),
        F.max("_replayed_at").alias("replayed"),
        F.collect_set(F.when(F.col("_in_cut"), F.col("source_incarnation"))).alias("incarnations"),
        F.coalesce(F.bool_or(is_truncate), F.lit(False)).alias("has_truncates"),
        F.coalesce(F.bool_or(is_moved), F.lit(False)).alias("has_moved_rows"),
    ]


def _is_in(cut: SourceCut) -> Column:
    # The changes of another life of the source are all there, and its transaction ids say nothing here.
    is_of_another = F.coalesce(F.col("source_incarnation") != cut.incarnation, F.lit(False))
    # A snapshot's row shows the table as of its position, whichever transaction read it.
    return is_of_another | cut.sees(F.when(F.col("op") != "r", F.col("transaction_id")), F.col("lsn"))


def _later(cut: SourceCut | None, merged: SourceCut | None) -> SourceCut | None:
    # Without a cut all is merged: nothing lies beyond it, and no cut can be later.
    if cut is None or merged is None:
        return cut
    # A database that was restored has no order with the one before it: the operator opened it, and goes on from there.
    return merged if cut.incarnation == merged.incarnation and merged.is_later_than(cut) else cut


def _after(memory: Memory, partitions: list[Row]) -> Memory:
    ends, lowest = dict(memory.ends), dict(memory.lowest)
    replayed = [memory.replayed_through, *[one["replayed"] for one in partitions]]
    for one in partitions:
        name = f"{one['_topic']}/{one['_partition']}"
        ends[name] = max(one["end"], ends.get(name, 0))
        lowest[name] = ends[name] if one["first_beyond"] is None else one["first_beyond"]
    known = [moment for moment in replayed if moment is not None]
    return replace(memory, ends=ends, lowest=lowest, replayed_through=max(known, default=None))


def _is_unmerged(memory: Memory) -> Column:
    known = offsets(memory.ends)
    if not known:
        return F.lit(True)
    # Plain compares of columns throughout, so that Delta skips files by their statistics: one that it can't read so
    # makes each merge read all of Bronze.
    is_unknown = reduce(Column.__and__, [~_in_partition(name) for name in known])
    is_back = F.col("_replayed_at").isNotNull()
    if memory.replayed_through is not None:
        is_back = is_back & (F.col("_replayed_at") > F.lit(memory.replayed_through))
    was_in_cut = _is_in(memory.cut) if memory.cut else F.lit(True)
    left_over = [
        _in_partition(name) & (F.col("_offset") >= low) & ((F.col("_offset") >= memory.ends[name]) | ~was_in_cut)
        for name, low in memory.lowest.items()
    ]
    return reduce(Column.__or__, left_over, is_unknown | is_back)


def _in_partition(name: str) -> Column:
    topic, _, partition = name.rpartition("/")
    return (F.col("_topic") == topic) & (F.col("_partition") == int(partition))
