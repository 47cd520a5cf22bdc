"""Silver against Postgres at one cut: rows and hash of each key bucket, the outcome in `ops.reconciliations`, and the
mark `ops.verified`, which moves only where all buckets agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch import captured_tables, merge_memory, quarantined_keys
from lakehouse import canonical_form as form
from lakehouse import delta_io, pushed_metrics, source_rows
from lakehouse.errors import LakehouseError
from lakehouse.identifiers import run_id
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut
from lakehouse.source_rows import Bucket, SourceTable
from lakehouse.tables import RECONCILIATIONS, VERIFIED, CapturedTable

log = get_logger(__name__)
NOTHING = Bucket(0, 0)
HALF_BITS = form.HASH_BITS // 2


@dataclass(frozen=True)
class Comparison:
    """One table of Postgres at the cut beside its Silver."""

    source: SourceTable
    silver: dict[int, Bucket]
    quarantined: int = 0
    """Rejected changes of a table that differs: their keys differ until they are replayed."""

    @property
    def differing(self) -> list[int]:
        """The buckets that differ, in order."""
        held = self.source.held
        return sorted(
            one for one in held.keys() | self.silver.keys() if held.get(one, NOTHING) != self.silver.get(one, NOTHING)
        )

    @property
    def not_compared(self) -> list[str]:
        """The declared columns that are not compared, each with the reason: Silver may hold anything in them."""
        return [one for one in self.source.shape.left_out if not one.endswith(source_rows.NOT_DECLARED)]

    @property
    def silver_rows(self) -> int:
        """Rows of Silver."""
        return sum(one.rows for one in self.silver.values())

    def __str__(self) -> str:
        name, buckets = self.source.table.name, self.source.buckets
        left_out = f"; not compared: {', '.join(self.source.shape.left_out)}" if self.source.shape.left_out else ""
        rows = f"{self.source.rows} rows in Postgres, {self.silver_rows} in Silver"
        rejected = f", {self.quarantined} changes are in the quarantine" if self.quarantined else ""
        return f"{name}: {rows}, {len(self.differing)} of {buckets} buckets differ{rejected}{left_out}"


class SilverDiffers(LakehouseError):
    """Silver is not what Postgres showed at the cut."""

    def __init__(self, found: Sequence[str], asked: Sequence[str]) -> None:
        cure = "`lakehouse reconcile --show-keys` names the keys (docs/runbooks/reconciliation.md)."
        differs = (
            f"Silver differs from Postgres at the night's cut: {'; '.join(found)}. Nothing was built or published."
        )
        super().__init__(" ".join([differs, *asked, cure]))


class SilverIsLater(LakehouseError):
    """Silver was brought to a later cut than the one that it is to be compared with."""

    def __init__(self, table: str, silver: datetime, cut: SourceCut) -> None:
        super().__init__(
            f"Silver's {table} was merged up to {silver:%Y-%m-%d %H:%M:%S} UTC, later than the run's own cut of "
            f"{cut.taken_at:%Y-%m-%d %H:%M:%S} UTC: a later night, `lakehouse reconcile` or `lakehouse batch silver` "
            "has merged since. Run the night from its step `bronze`, which takes a new cut."
        )


def merge_and_compare(
    spark: SparkSession, settings: Settings, cut: SourceCut, tables: Sequence[SourceTable]
) -> tuple[int, list[Comparison]]:
    """Bring Silver to the cut and compare it with what Postgres held then; returns merged events and the outcome.

    Raises `SilverIsLater`.
    """
    merged = sum(captured_tables.run(spark, settings, one.table, cut) for one in tables)
    for one in tables:
        at = merge_memory.newest(spark, one.table, settings).cut
        if at and at.incarnation == cut.incarnation and at.is_later_than(cut):
            raise SilverIsLater(one.table.name, at.taken_at, cut)
    found = [compare(spark, settings, one) for one in tables]
    for table in [one.source.table for one in found if one.differing]:
        if merged_at := _merged_without_cut(spark, settings, table, cut):
            raise SilverIsLater(table.name, merged_at, cut)
    return merged, found


def _merged_without_cut(
    spark: SparkSession, settings: Settings, table: CapturedTable, cut: SourceCut
) -> datetime | None:
    """When a merge last took all that there was (`lakehouse batch silver`), if that was after the cut."""
    merges = delta_io.read(spark, table.merges, settings).where("cut is null and events > 0")
    row = merges.where(F.col("merged_at") > F.lit(cut.taken_at)).agg(F.max("merged_at")).first()
    return row[0] if row else None


def compare(spark: SparkSession, settings: Settings, source: SourceTable) -> Comparison:
    """Count and hash Silver's table as the source was: the same columns, as many buckets."""
    rows = delta_io.read(spark, source.table.silver, settings)
    found = Comparison(source, held(rows, source))
    if found.differing:
        found = replace(found, quarantined=len(quarantined_keys.raw(spark, settings, source.table)))
    if left_out := found.not_compared:
        log.warning("columns_not_compared", table=source.table.name, columns=left_out)
    log.info("table_reconciled", table=source.table.name, rows=source.rows, differing_buckets=len(found.differing))
    return found


def held(rows: DataFrame, source: SourceTable) -> dict[int, Bucket]:
    """Bucket -> rows and hash of a frame that has the table's columns."""
    row_hash = F.col("row_hash")
    sums = (
        canonical(rows, source)
        .groupBy("bucket")
        # In halves, so that no sum leaves a bigint.
        .agg(
            F.count("*").alias("rows"),
            F.sum(F.shiftright(row_hash, HALF_BITS)).alias("high"),
            F.sum(row_hash.bitwiseAND((1 << HALF_BITS) - 1)).alias("low"),
        )
    )
    return {
        row["bucket"]: Bucket(row["rows"], ((row["high"] << HALF_BITS) + row["low"]) % form.MODULUS)
        for row in sums.collect()
    }


def canonical(rows: DataFrame, source: SourceTable) -> DataFrame:
    """The key columns of each row with `key_text`, `row_hash` and `bucket`, as the source was read."""
    types, key_text = source.table.columns, form.spark_row(source.table.keys, source.table.columns)
    return rows.select(
        F.struct(*source.table.keys).alias("key"),
        key_text.alias("key_text"),
        form.spark_hash(form.spark_row(source.shape.columns, types)).alias("row_hash"),
        form.spark_bucket(key_text, source.buckets).alias("bucket"),
    )


def record(
    spark: SparkSession, settings: Settings, run: str, day: date, cut: SourceCut, found: Sequence[Comparison]
) -> None:
    """Write each bucket of a run, tell Prometheus, and move the mark of the tables that agree."""
    now = datetime.now(UTC)
    rows = [row for one in found for row in _bucket_rows(one, run, day, now)]
    frame = spark.createDataFrame(rows, RECONCILIATIONS.schema)
    delta_io.overwrite(frame, RECONCILIATIONS, settings, where=f"run_id = '{run_id(run)}'")
    _move_mark(spark, settings, run, cut, [one for one in found if not one.differing])
    pushed_metrics.push_reconciliation(
        settings,
        {one.source.table.name: len(one.differing) for one in found},
        {one.source.table.name: cut.taken_at.timestamp() for one in found if not one.differing},
    )


def require_agreement(found: Sequence[Comparison], asked: Sequence[str]) -> None:
    """Raise `SilverDiffers`, which names each table that does not agree, and what became of the rows `asked` for."""
    if different := [str(one) for one in found if one.differing]:
        raise SilverDiffers(different, asked)


def _bucket_rows(found: Comparison, run: str, day: date, now: datetime) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for bucket in sorted(found.source.held.keys() | found.silver.keys()):
        ours, theirs = found.silver.get(bucket, NOTHING), found.source.held.get(bucket, NOTHING)
        counts = (theirs.rows, theirs.hash, ours.rows, ours.hash, ours == theirs)
        rows.append((run, day, found.source.table.name, bucket, *counts, now))
    return rows


def _move_mark(
    spark: SparkSession, settings: Settings, run: str, cut: SourceCut, agreeing: Sequence[Comparison]
) -> None:
    """A mark never moves back: a night that was repeated with an older cut leaves it."""
    rows = [(one.source.table.name, cut.to_json(), cut.lsn, cut.taken_at, run, one.source.rows) for one in agreeing]
    if not rows:
        return
    marks: DeltaTable = delta_io.ensure(spark, VERIFIED, settings)
    moved = spark.createDataFrame(rows, VERIFIED.schema)
    merge = marks.alias("mark").merge(moved.alias("moved"), "mark.table_name = moved.table_name")
    merge = merge.whenMatchedUpdateAll("moved.taken_at > mark.taken_at")
    merge.whenNotMatchedInsertAll().execute()
