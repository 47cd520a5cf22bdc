"""Which Bronze rows a merge must take: positions are kept in the metadata of the Silver commit, with the rows that
they made.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec

MERGED = "merged_through"


def merged_through(spark: SparkSession, silver: TableSpec, settings: Settings) -> dict[str, int]:
    """Next offset to merge per `topic/partition`, as the newest merge of the Silver table recorded it; empty at
    first.
    """
    found: dict[str, int] = delta_io.newest_metadata(spark, silver, settings, MERGED).get(MERGED, {})
    return found


def after(bronze: DataFrame, positions: dict[str, int]) -> DataFrame:
    """The Bronze rows at or behind the positions; a partition without a position is taken whole."""
    if not positions:
        return bronze
    partition = F.concat_ws("/", "_topic", F.col("_partition").cast("string"))
    is_known = partition.isin(*positions)
    is_new: Column = reduce(
        lambda left, right: left | right,
        [_is_behind(name, offset) for name, offset in positions.items()],
    )
    return bronze.where(is_new | ~is_known)


def _is_behind(name: str, offset: int) -> Column:
    # Plain compares of columns, so that Delta skips files by their statistics.
    topic, _, partition = name.rpartition("/")
    return (F.col("_topic") == topic) & (F.col("_partition") == int(partition)) & (F.col("_offset") >= offset)


def next_positions(rows: DataFrame, positions: dict[str, int]) -> dict[str, int]:
    """The positions after `rows` were merged."""
    newest = rows.groupBy("_topic", "_partition").agg(F.max("_offset").alias("newest")).collect()
    return positions | {f"{row['_topic']}/{row['_partition']}": row["newest"] + 1 for row in newest}


def entry(positions: dict[str, int]) -> dict[str, Any]:
    """Metadata of the Silver commit that merged up to these positions."""
    return {MERGED: positions}
