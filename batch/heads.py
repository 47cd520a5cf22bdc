"""What Silver holds of a captured table when a merge begins: the state that each key goes on from."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from batch.fold import GONE_HEAD, HEAD
from batch.kept import kept
from lakehouse.edit import PLACE, PLACE_TYPE, Edit
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable

MOST_SENT = 200_000
"""So many keys are sent to each reader of a large table, which then keeps its order; more are sorted beside it."""


@dataclass(frozen=True)
class Silver:
    """The tables of one captured table, each as an open transaction: a merge reads and changes them as of the moment
    when it began, and is in conflict with any other that commits meanwhile.
    """

    table: CapturedTable
    live: Edit
    deleted: Edit
    history: Edit | None
    """None for a table without history."""

    @classmethod
    def of(cls, spark: SparkSession, settings: Settings, table: CapturedTable) -> Silver:
        """The tables as they are now."""
        live, deleted = Edit(spark, table.silver, settings), Edit(spark, table.deleted, settings)
        return cls(table, live, deleted, Edit(spark, table.history, settings) if table.has_history else None)

    def heads(self, keys: DataFrame | None) -> DataFrame:
        """What the tables hold of these keys (None: of all), as events of the fold: one row for each, live or deleted.

        Beside it `_is_remembered`, whether the deleted ones have a row of the key, and `_places`, where the live ones
        stand (two for a row that a fault has doubled). It is read at once and kept, so that it stays what it was when
        the merge writes the tables that it comes from.
        """
        gone = self.deleted.rows().withColumn(PLACE, F.lit(None).cast(PLACE_TYPE))
        held = self._held(self.live.rows(), HEAD, keys).unionByName(self._held(gone, GONE_HEAD, keys))
        # A merge that was cut off has remembered its deletes and not taken the rows away: the live table is the truth,
        # and the next merge reads those deletes again.
        of_key = Window.partitionBy(*self.table.keys)
        live_first = of_key.orderBy(F.col("op") == GONE_HEAD, F.col("_position").desc())
        ranked = held.withColumns(
            {
                "_rank": F.row_number().over(live_first),
                "_is_remembered": F.bool_or(F.col("op") == GONE_HEAD).over(of_key),
                "_places": F.collect_list(PLACE).over(of_key),
            }
        )
        return kept(ranked.where("_rank = 1").drop("_rank", PLACE))

    def _held(self, rows: DataFrame, op: str, keys: DataFrame | None) -> DataFrame:
        table = self.table
        found = rows if keys is None else rows.join(keys, on=list(table.keys), how="left_semi")
        left_out = F.col("_unresolved_columns").alias("_left_out")
        rest = ("_position", "_offset", "_source_at", PLACE)
        return found.select(*table.keys, F.lit(op).alias("op"), *table.values, left_out, *rest)


def sent(keys: DataFrame, count: int) -> DataFrame:
    """Rows to join a large table with; at most `count` of them. Spark's own guess of their size is far too high."""
    return F.broadcast(keys) if count <= MOST_SENT else keys


def as_events(held: DataFrame) -> DataFrame:
    """`heads` as events of the fold and nothing else."""
    return held.drop("_is_remembered", "_places")
