"""Changes that no merge could place (`ops.quarantine/silver_<table>`) -> merged again, from their rows in Bronze.

Their keys are folded anew from all of Bronze: what is placed is where it belongs, whatever was forgotten.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import lakehouse
from batch import captured_tables, merge_input, merge_memory, unmergeable
from batch.kept import kept
from lakehouse import delta_io
from lakehouse.logs import get_logger
from lakehouse.outcomes import DISCARDED, REPLAYED, STILL_BAD, rejected_without
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable, quarantine_outcomes_of
from quality import rules

log = get_logger(__name__)


@dataclass(frozen=True)
class Replayed:
    """What became of the open changes: how many are merged now, and how many still can't be, by reason."""

    placed: int
    still_bad: Mapping[str, int]


def replay(
    spark: SparkSession, settings: Settings, table: CapturedTable, requested_by: str, is_dry_run: bool = False
) -> Replayed:
    """Merge the open changes of a table again; a dry run only says what would become of them.

    Safe to call again, also after a crash. Raises `LeaseHeld`, `UnknownIncarnation` and `TableMissing`.
    """
    still_open = rejected_without(spark, settings, table.rejects, REPLAYED, DISCARDED)
    if still_open is None:
        return Replayed(0, {})
    judged = kept(_judged(spark, settings, table, still_open))
    # No reason at all is an empty text.
    rows = judged.groupBy(F.concat_ws("+", "_reasons").alias("reason")).count().collect()
    counts = {row["reason"]: row["count"] for row in rows}
    found = Replayed(counts.pop("", 0), counts)
    if is_dry_run:
        return found
    if found.placed:
        good = judged.where("_reasons is null").drop("_quarantine_id", "_reasons")
        captured_tables.merge_again(spark, settings, table, good)
    if rows:
        _record(judged, table, settings, requested_by)
        log.info("unmerged_changes_replayed", table=table.name, placed=found.placed, still_bad=found.still_bad)
    return found


def _judged(spark: SparkSession, settings: Settings, table: CapturedTable, rejected: DataFrame) -> DataFrame:
    """The rows of Bronze that were rejected, with `_quarantine_id` and the `_reasons` of now."""
    places = rejected.select(
        F.col("quarantine_id").alias("_quarantine_id"),
        F.col("origin").alias("_topic"),
        F.col("origin_partition").alias("_partition"),
        F.col("origin_position").alias("_offset"),
    )
    # Of a merge that was cut off, the next one takes the rows and judges them itself.
    memory = merge_memory.newest(spark, table, settings)
    bronze = merge_input.merged(spark, settings, table, memory)
    # A change that was delivered twice is one.
    once = bronze.join(places, on=["_topic", "_partition", "_offset"]).dropDuplicates(["_quarantine_id"])
    return once.select(*table.changes.columns, "_quarantine_id", unmergeable.reasons(table).alias("_reasons"))


def _record(judged: DataFrame, table: CapturedTable, settings: Settings, requested_by: str) -> None:
    known = {
        "quarantine_id": F.col("_quarantine_id"),
        "request_id": F.lit(uuid.uuid4().hex),
        "outcome": F.when(F.col("_reasons").isNull(), REPLAYED).otherwise(STILL_BAD),
        "reasons": F.col("_reasons"),
        "rule_version": F.lit(rules.VERSION),
        "code_version": F.lit(lakehouse.__version__),
        "requested_by": F.lit(requested_by),
        "decided_at": F.lit(datetime.now(UTC)),
    }
    spec = quarantine_outcomes_of(table.rejects)
    columns = [known.get(one.name, F.lit(None)).cast(one.dataType).alias(one.name) for one in spec.schema]
    delta_io.append(judged.select(*columns).coalesce(1), spec, settings)
