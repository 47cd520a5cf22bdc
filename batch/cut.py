"""Which Bronze rows a merge must take: positions are kept in the metadata of the Silver commit, with the rows that
they made.

A position is the next offset of a `topic/partition`. Rows that came back from the quarantine lie behind the positions;
they are known by `_replayed_at`, and the newest that was merged is one more position (`REPLAYED`, in microseconds).
Beside them stands how often a topic's offsets have begun again (`lakehouse.positions`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

from delta.exceptions import ConcurrentTransactionException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.append import Append
from lakehouse.delta_io import Mark
from lakehouse.logs import get_logger
from lakehouse.positions import begun_again, offsets, still_merged
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec

log = get_logger(__name__)
MERGED = "merged_through"
REPLAYED = "_replayed_at"
APPLICATION = "silver-merge"


def merged_through(spark: SparkSession, silver: TableSpec, bronze: TableSpec, settings: Settings) -> dict[str, int]:
    """The positions as the newest merge of the Silver table recorded them, as far as Bronze still goes on from them;
    empty at first.
    """
    found: dict[str, int] = delta_io.newest_metadata(spark, silver, settings, MERGED).get(MERGED, {})
    held = Append(spark, bronze, settings).positions() if delta_io.exists(spark, bronze, settings) else {}
    return still_merged(found, begun_again(held))


def after(bronze: DataFrame, positions: dict[str, int]) -> DataFrame:
    """The Bronze rows at or behind the positions, and those that were replayed since; a partition without a position
    is taken whole.
    """
    known = offsets(positions)
    if not known:
        return bronze
    is_known = F.concat_ws("/", "_topic", F.col("_partition").cast("string")).isin(*known)
    # Plain compares of columns, so that Delta skips files by their statistics.
    is_new: Column = reduce(
        lambda left, right: left | right,
        [_is_behind(name, offset) for name, offset in known.items()],
    )
    return bronze.where(is_new | ~is_known | _is_replayed_since(bronze, positions.get(REPLAYED)))


def _is_behind(name: str, offset: int) -> Column:
    topic, _, partition = name.rpartition("/")
    return (F.col("_topic") == topic) & (F.col("_partition") == int(partition)) & (F.col("_offset") >= offset)


def _is_replayed_since(bronze: DataFrame, merged: int | None) -> Column:
    if REPLAYED not in bronze.columns:
        return F.lit(False)
    is_replayed = F.col(REPLAYED).isNotNull()
    return is_replayed if merged is None else is_replayed & (F.col(REPLAYED) > F.timestamp_micros(F.lit(merged)))


def next_positions(rows: DataFrame, positions: dict[str, int]) -> dict[str, int]:
    """The positions after `rows` were merged; none moves back."""
    replayed = F.max(F.unix_micros(REPLAYED)) if REPLAYED in rows.columns else F.lit(None).cast("bigint")
    newest = rows.groupBy("_topic", "_partition").agg(F.max("_offset").alias("newest"), replayed.alias("replayed"))
    moved = dict(positions)
    for row in newest.collect():
        name = f"{row['_topic']}/{row['_partition']}"
        moved[name] = max(row["newest"] + 1, moved.get(name, 0))
        if row["replayed"] is not None:
            moved[REPLAYED] = max(row["replayed"], moved.get(REPLAYED, 0))
    return moved


def entry(positions: dict[str, int]) -> dict[str, Any]:
    """Metadata of the Silver commit that merged up to these positions."""
    return {MERGED: positions}


@contextmanager
def commit_of(spark: SparkSession, silver: TableSpec, begun_at: int, entry: dict[str, Any]) -> Iterator[None]:
    """Give the one commit inside the block its metadata, and let it happen only where no other merge of the table
    committed since version `begun_at`, which was read before everything else.

    Two attempts at once end as one: Delta refuses or skips the later commit, and the next run takes what it had more.
    """
    with delta_io.commit_metadata(spark, entry, Mark(APPLICATION, begun_at + 1)):
        try:
            yield
        except ConcurrentTransactionException:
            log.warning("merged_by_another_attempt", table=silver.name)
