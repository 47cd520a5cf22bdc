"""A captured table made anew from all of Bronze, beside the live one, and compared with it row by row."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch import fold, incarnations, merge_input, merge_memory
from batch.left_out import large_columns
from batch.merge import truncates_of
from batch.merge_memory import Memory
from batch.merge_scope import Past
from lakehouse import delta_io, lease
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable, TableSpec


@dataclass(frozen=True)
class Comparison:
    """A table and the one that was made anew: how many rows each has, and in how many they differ."""

    table: str
    rebuilt_path: str
    rows: int
    rebuilt_rows: int
    different: int

    @property
    def agrees(self) -> bool:
        """Whether the two hold the same rows."""
        return not self.different

    def __str__(self) -> str:
        outcome = "the same rows" if self.agrees else f"{self.different} rows differ"
        return f"{self.table}: {self.rows} rows, anew {self.rebuilt_rows}: {outcome} ({self.rebuilt_path})"


def rebuild(spark: SparkSession, settings: Settings, table: CapturedTable) -> list[Comparison]:
    """Fold all that was merged so far again, into `<table>_rebuilt`; returns one comparison for each table.

    The live tables stay as they are. Raises `LeaseHeld` and `TableMissing`.
    """
    with lease.hold(lease.of_silver(table.name), settings):
        memory = merge_memory.newest(spark, table, settings)
        states = states_of(spark, settings, table, memory, None).persist()
        try:
            newest = fold.newest(states, table).withColumn("_merged_at", F.current_timestamp())
            found = [_compare(spark, settings, table.silver, newest.where("not is_gone"))]
            if table.has_history:
                spans = fold.intervals(states, table).withColumn("_merged_at", F.current_timestamp())
                found.append(_compare(spark, settings, table.history, spans))
            return found
        finally:
            states.unpersist()


def states_of(
    spark: SparkSession, settings: Settings, table: CapturedTable, memory: Memory, keys: DataFrame | None
) -> DataFrame:
    """The states that the rows of these keys (None: of all) went through, by all that the merges have taken."""
    past = Past(merge_input.merged(spark, settings, table, memory), table, incarnations.known(spark, settings))
    # With the keys from which their rows took large values along.
    changes = past.of(None if keys is None else past.with_moved(keys))
    states = fold.states(changes, table, truncates_of(spark, memory, table), bool(large_columns(table)))
    return states if keys is None else states.join(keys, on=list(table.keys), how="left_semi")


def _compare(spark: SparkSession, settings: Settings, spec: TableSpec, rows: DataFrame) -> Comparison:
    beside = replace(spec, name=f"{spec.name}_rebuilt", comment=f"{spec.comment} Made anew from Bronze.")
    delta_io.overwrite(rows.select(*spec.columns), beside, settings)
    anew, live = (delta_io.read(spark, one, settings).drop("_merged_at") for one in (beside, spec))
    columns = [fold.comparable(field.name, live.schema).alias(field.name) for field in live.schema]
    # By multiplicity: one row lost and another doubled must not cancel each other.
    sides = live.select(*columns, F.lit(1).alias("_side")).unionByName(anew.select(*columns, F.lit(-1).alias("_side")))
    counted = sides.groupBy(*live.columns).agg(F.sum("_side").alias("_side"))
    different = counted.agg(F.coalesce(F.sum(F.abs("_side")), F.lit(0))).first()
    assert different is not None
    return Comparison(spec.name, beside.path(settings), live.count(), anew.count(), int(different[0]))
