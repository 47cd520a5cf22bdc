"""`bronze.<table>_changes` -> `silver.<table>`, `silver.<table>_history` and `silver.<table>_deleted`, for any captured
table. The same tables come out whatever the order, the cut and the repetition of the changes
(docs/decisions/0016-order-of-changes.md, docs/decisions/0017-merge.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import DataFrame, SparkSession

from batch import merge_input, merge_memory
from batch.heads import Silver
from batch.merge import merge
from batch.merge_input import Input
from batch.merge_memory import Memory
from lakehouse import delta_io, lease
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut
from lakehouse.tables import CapturedTable

log = get_logger(__name__)
WAIT_SECONDS = 3600.0
"""A retry waits for the attempt before it that still runs, and then finds nothing to do."""


def run(spark: SparkSession, settings: Settings, table: CapturedTable, cut: SourceCut | None = None) -> int:
    """Merge what is new in Bronze, up to the cut; returns the number of change events. No new event: no commit.

    Raises `LeaseHeld` when another process merges the table for an hour, and `UnknownIncarnation`.
    """
    with _ready(spark, settings, table) as (silver, memory):
        return _merge(spark, settings, silver, merge_input.read(spark, settings, table, memory, cut))


def merge_given(spark: SparkSession, settings: Settings, table: CapturedTable, changes: DataFrame) -> int:
    """The same for rows that were added to Bronze just now, whatever their offsets."""
    with _ready(spark, settings, table) as (silver, memory):
        return _merge(spark, settings, silver, merge_input.given(spark, settings, table, memory, changes))


def merge_again(spark: SparkSession, settings: Settings, table: CapturedTable, changes: DataFrame) -> int:
    """The same for rows that merges have taken and could not place: their keys are folded anew from all of Bronze."""
    with _ready(spark, settings, table) as (silver, memory):
        return _merge(spark, settings, silver, merge_input.again(spark, settings, table, memory, changes))


@contextmanager
def _ready(spark: SparkSession, settings: Settings, table: CapturedTable) -> Iterator[tuple[Silver, Memory]]:
    with lease.hold(lease.of_silver(table.name), settings, WAIT_SECONDS):
        if not delta_io.has_all_columns(spark, table.changes, settings):
            # Bronze is its stream's: on S3, two that commit at one moment would overwrite each other's commit.
            with lease.hold(lease.of_stream(table.changes.table), settings):
                delta_io.ensure(spark, table.changes, settings)
        for spec in table.merged:
            delta_io.ensure(spark, spec, settings)
        # Opened before the memory is read: whoever commits from here on is in conflict with this merge.
        silver = Silver.of(spark, settings, table)
        yield silver, merge_memory.of(spark, table, settings, silver.live, silver.history)


def _merge(spark: SparkSession, settings: Settings, silver: Silver, taken: Input) -> int:
    try:
        if taken.count:
            merge(spark, settings, silver, taken)
        log.info("silver_merged", table=silver.table.silver.name, events=taken.count)
        return taken.count
    finally:
        taken.close()
