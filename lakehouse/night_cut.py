"""The cut of a night, kept for its later steps: `ops.cuts`, one row per run and captured table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Row, SparkSession

from lakehouse import delta_io
from lakehouse.errors import LakehouseError
from lakehouse.identifiers import run_id
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut
from lakehouse.source_rows import Bucket, Shape, SourceTable
from lakehouse.tables import CUTS, SILVER_CAPTURED, CapturedTable


class NoCut(LakehouseError):
    """The run took no cut, so there is nothing to merge to and to compare with."""

    def __init__(self, run: str) -> None:
        super().__init__(f"The run {run} took no cut of the source. Run its step `bronze` first.")


def record(
    spark: SparkSession, settings: Settings, run: str, day: date, cut: SourceCut, tables: Sequence[SourceTable]
) -> None:
    """Keep the cut of a run; a repeated step replaces its earlier one."""
    rows = [
        (
            run,
            day,
            one.table.name,
            cut.to_json(),
            cut.taken_at,
            list(one.shape.columns),
            list(one.shape.left_out),
            one.buckets,
            one.rows,
            [(bucket, held.rows, held.hash) for bucket, held in sorted(one.held.items())],
            one.seconds,
        )
        for one in tables
    ]
    frame = spark.createDataFrame(rows, CUTS.schema)
    delta_io.overwrite(frame, CUTS, settings, where=f"run_id = '{run_id(run)}'")


def recorded(spark: SparkSession, settings: Settings, run: str) -> tuple[SourceCut, list[SourceTable]]:
    """The cut of a run and what Postgres held at it. Raises `NoCut`."""
    if not delta_io.exists(spark, CUTS, settings):
        raise NoCut(run)
    rows = delta_io.read(spark, CUTS, settings).where(f"run_id = '{run_id(run)}'").collect()
    by_name = {row["table_name"]: row for row in rows}
    found = [_table(by_name[table.name], table) for table in SILVER_CAPTURED if table.name in by_name]
    if not found:
        raise NoCut(run)
    return SourceCut.from_json(rows[0]["cut"]), found


def _table(row: Row, table: CapturedTable) -> SourceTable:
    return SourceTable(
        table=table,
        # What the source calls a column is of no use to the comparison.
        shape=Shape(tuple(row["compared"]), tuple(row["left_out"]), {}),
        buckets=row["buckets"],
        held={one["bucket"]: Bucket(one["rows"], one["hash"]) for one in row["source"]},
        seconds=row["seconds"],
    )
