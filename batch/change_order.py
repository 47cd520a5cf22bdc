"""The order of changes: which of two changes of one key is the later, whatever the order of their arrival.

Position = (incarnation of the source, commit before the change's transaction, snapshot row or change, LSN, order in the
transaction). Debezium sends transactions in the order of their commits, and the first number of `source.sequence` is
the last commit that it had sent before: so it grows from transaction to transaction, also where a long one carries
lower LSNs. See docs/decisions/0016-order-of-changes.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakehouse.tables import CapturedTable

FIRST_INCARNATION = 1


def is_snapshot_row() -> Column:
    """Whether a change is no change, but a row as a snapshot read it."""
    return F.col("op") == "r"


def is_first_after_snapshot() -> Column:
    """Whether a change belongs to the first transaction after a snapshot: Debezium has sent no commit before it."""
    return F.col("sequence").isNotNull() & F.col("commit_lsn").isNull() & ~is_snapshot_row()


def positioned(
    changes: DataFrame, table: CapturedTable, incarnations: Sequence[str], has_whole_keys: bool = False
) -> DataFrame:
    """Add `_position` to rows of `bronze.<table>_changes`; null for a row without an LSN.

    `incarnations` lists the source's incarnations, the oldest first. `has_whole_keys`: whether all changes of each key
    are there. Only then can a change that is the first after a snapshot be placed behind the snapshot's row.
    """
    behind_snapshot = [_behind_snapshot(table)] if has_whole_keys else []
    return changes.withColumn(
        "_position",
        F.when(
            F.col("lsn").isNotNull(),
            F.struct(
                _ordinal(incarnations).alias("incarnation"),
                F.coalesce("commit_lsn", *behind_snapshot, "lsn").alias("commit_lsn"),
                (~is_snapshot_row()).alias("is_change"),
                F.col("lsn"),
                F.coalesce("transaction_order", F.lit(0)).cast("bigint").alias("transaction_order"),
            ),
        ),
    )


def _ordinal(incarnations: Sequence[str]) -> Column:
    ordinal = F.lit(0)
    for number, name in enumerate(incarnations, start=FIRST_INCARNATION):
        ordinal = F.when(F.col("source_incarnation") == name, F.lit(number)).otherwise(ordinal)
    return ordinal


def _behind_snapshot(table: CapturedTable) -> Column:
    # A transaction that was open when a new slot's snapshot was read has lower LSNs than its rows, and the snapshot did
    # not see it. One partition holds a key in the order in which Debezium sent it: what follows the row is later. By
    # the time first: the offsets of a topic that was made again begin again.
    earlier = (
        Window.partitionBy(*[F.col("key")[key] for key in table.keys], "_topic", "_partition", "source_incarnation")
        .orderBy("_kafka_at", "_offset")
        .rowsBetween(Window.unboundedPreceding, Window.currentRow)
    )
    of_snapshot = F.max(F.when(is_snapshot_row() & F.col("commit_lsn").isNull(), F.col("lsn"))).over(earlier)
    return F.when(is_first_after_snapshot(), F.greatest(F.col("lsn"), of_snapshot))
