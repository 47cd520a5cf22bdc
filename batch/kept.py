"""Rows that a merge reads once and uses several times."""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import DataFrame


def kept(rows: DataFrame) -> DataFrame:
    """The rows, computed now, without the plan that made them: each step behind would analyse it again.

    On the driver's disk: a million of them would leave the heap no room to work in. A cache would not do, because Spark
    computes it again when a table behind it changes.
    """
    return rows.localCheckpoint(storageLevel=StorageLevel.DISK_ONLY)
