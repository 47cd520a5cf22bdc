"""Old files go, what a version of the last week needs stays, and nothing is committed."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from batch.marts import candidate
from batch.vacuum import vacuum
from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_KEYS, INVENTORY_EVENTS, TableSpec

pytestmark = pytest.mark.slow


def files(spec: TableSpec, settings: Settings) -> set[Path]:
    return set(Path(spec.path(settings)).rglob("*.parquet"))


@pytest.mark.parametrize(("kept_for", "left"), [("", 3), ("interval 0 days", 1)])
def test_files_go_when_they_left_their_table_for_long_enough(
    kept_for: str, left: int, spark: SparkSession, settings: Settings
) -> None:
    spec = candidate("dim_products")
    if kept_for:
        spec = replace(spec, properties={"delta.deletedFileRetentionDuration": kept_for})
    for number in range(3):
        delta_io.replace(spark.range(number, number + 1).coalesce(1), spec, settings, "{}")
    assert len(files(spec, settings)) == 3
    (found,) = vacuum(spark, settings)
    assert (len(files(spec, settings)), found.before > found.after) == (left, left < 3)
    assert [row.id for row in delta_io.read(spark, spec, settings).collect()] == [2]


def test_what_a_killed_driver_wrote_goes_after_a_week(spark: SparkSession, settings: Settings) -> None:
    tables = (INVENTORY_EVENTS, CLICK_KEYS)
    for spec in tables:
        delta_io.ensure(spark, spec, settings)
    folder = Path(INVENTORY_EVENTS.path(settings))
    old, young = folder / "part-old.parquet", folder / "part-young.parquet"
    for path, days in ((old, 8), (young, 6)):
        path.write_bytes(bytes(1000))
        then = time.time() - timedelta(days=days).total_seconds()
        os.utime(path, (then, then))
    before = {spec.name: delta_io.version(spark, spec, settings) for spec in tables}
    found = {one.table: one for one in vacuum(spark, settings)}
    assert (old.exists(), young.exists()) == (False, True)
    assert 900 < found[INVENTORY_EVENTS.name].before - found[INVENTORY_EVENTS.name].after < 1100
    assert {spec.name: delta_io.version(spark, spec, settings) for spec in tables} == before
