"""Many small files -> few large ones, and rows that are marked as deleted are taken out of their files.

A stream adds files with every batch, and a merge marks rows instead of writing their files anew. Both write fast, and
make the next reader a little slower. No row changes, and no reader is disturbed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from delta.tables import DeltaOptimizeBuilder
from pyspark.sql import SparkSession

from lakehouse import delta_io, lease, night_step
from lakehouse.errors import LeaseHeld
from lakehouse.settings import Settings
from lakehouse.tables import BRONZE, SILVER, SILVER_CAPTURED, TableSpec


@dataclass(frozen=True)
class Compacted:
    """What became of the files of one table."""

    table: str
    removed: int
    added: int
    left_out: str = ""
    """Why the table was left as it is."""

    def __str__(self) -> str:
        done = f"{self.removed} files became {self.added}" if self.removed else self.left_out or "nothing to do"
        return f"{self.table}: {done}"


def compact(spark: SparkSession, settings: Settings, by_key: bool = False) -> Iterator[Compacted]:
    """Compact the tables of Bronze and Silver that are there, one by one.

    `by_key` lays the changes in Bronze out by the keys of their rows, so that a late change reads few files; it reads
    all of them. A night may not run meanwhile: raises `LeaseHeld`. Streams may, where tables lie in a folder; on S3 a
    table whose stream runs is left out, since two drivers that commit to one table there overwrite each other.
    """
    keys = {table.changes.name: [f"key.{key}" for key in table.keys] for table in SILVER_CAPTURED} if by_key else {}
    for spec in _there(spark, BRONZE, settings):
        yield _bronze(spark, spec, settings, keys.get(spec.name))
    with ExitStack() as leases:
        leases.enter_context(night_step.alone(settings))
        for table in SILVER_CAPTURED:
            leases.enter_context(lease.hold(lease.of_silver(table.name), settings))
        yield from (_compacted(spark, spec, settings) for spec in _there(spark, SILVER, settings))


def _bronze(spark: SparkSession, spec: TableSpec, settings: Settings, keys: list[str] | None) -> Compacted:
    if "://" not in settings.warehouse:
        return _compacted(spark, spec, settings, keys)
    try:
        with lease.hold(lease.of_stream(spec.table), settings):
            return _compacted(spark, spec, settings, keys)
    except LeaseHeld:
        return Compacted(spec.name, 0, 0, left_out="left as it is: its stream runs")


def _there(spark: SparkSession, specs: tuple[TableSpec, ...], settings: Settings) -> Iterator[TableSpec]:
    return (spec for spec in specs if delta_io.exists(spark, spec, settings))


def _compacted(spark: SparkSession, spec: TableSpec, settings: Settings, keys: list[str] | None = None) -> Compacted:
    optimize: DeltaOptimizeBuilder = delta_io.table(spark, spec, settings).optimize()
    outcome = optimize.executeZOrderBy(*keys) if keys else optimize.executeCompaction()
    row = outcome.select("metrics.numFilesRemoved", "metrics.numFilesAdded").first()
    assert row is not None
    return Compacted(spec.name, row[0], row[1])
