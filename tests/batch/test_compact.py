"""Compaction: fewer files, the same rows, and merges go on from where they were."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from table_rows import frame

from batch import captured_tables
from batch.compact import compact
from batch.rebuild import rebuild
from lakehouse import delta_io, lease, night_step
from lakehouse.errors import LeaseHeld
from lakehouse.settings import Settings
from lakehouse.tables import PRODUCTS, TableSpec

pytestmark = pytest.mark.slow
AT = datetime(2026, 11, 23, 9, 0, 0)


def change(op: str, product: str, lsn: int) -> dict[str, Any]:
    names = PRODUCTS.columns.names
    row = dict.fromkeys(names) | {"product_id": product, "product_name": f"{product} at {lsn}", "updated_at": AT}
    place = {"_topic": "shop.public.products", "_partition": 0, "_offset": lsn, "_ingested_at": AT}
    source = {"lsn": lsn, "commit_lsn": lsn, "source_at": AT, "source_incarnation": "system/1"}
    return {"key": {"product_id": product}, "op": op, "after": None if op == "d" else row} | source | place


def held(spark: SparkSession, settings: Settings, spec: TableSpec) -> DataFrame:
    return delta_io.read(spark, spec, settings)


def files(spark: SparkSession, settings: Settings, spec: TableSpec) -> int:
    return len(held(spark, settings, spec).inputFiles())


@pytest.fixture
def nights(spark: SparkSession, settings: Settings) -> Settings:
    """Two nights, each with a batch in Bronze and a merge."""
    batches = [
        [change("c", "P1", 10), change("c", "P2", 11)],
        [change("u", "P1", 20), change("d", "P2", 21), change("c", "P3", 22)],
    ]
    for batch in batches:
        rows = frame(spark, PRODUCTS.changes.schema, batch).coalesce(1)
        delta_io.append(rows, PRODUCTS.changes, settings)
        captured_tables.run(spark, settings, PRODUCTS)
    return settings


def test_files_become_fewer_and_rows_stay(spark: SparkSession, nights: Settings) -> None:
    tables = (PRODUCTS.changes, *PRODUCTS.merged)
    rows = {spec.name: sorted(map(str, held(spark, nights, spec).collect())) for spec in tables}
    before = {spec.name: files(spark, nights, spec) for spec in tables}
    found = {one.table: one for one in compact(spark, nights)}
    assert (before[PRODUCTS.changes.name], files(spark, nights, PRODUCTS.changes)) == (2, 1)
    assert (found[PRODUCTS.changes.name].removed, found[PRODUCTS.changes.name].added) == (2, 1)
    assert files(spark, nights, PRODUCTS.silver) == 1 < before[PRODUCTS.silver.name]
    assert {spec.name: sorted(map(str, held(spark, nights, spec).collect())) for spec in tables} == rows
    assert {one.table for one in compact(spark, nights, by_key=True) if one.removed} == {PRODUCTS.changes.name}
    # A late change finds its key's changes, and a repeated merge finds nothing.
    late = frame(spark, PRODUCTS.changes.schema, [change("u", "P1", 15) | {"_offset": 40}])
    delta_io.append(late, PRODUCTS.changes, nights)
    assert [captured_tables.run(spark, nights, PRODUCTS) for _ in range(2)] == [1, 0]
    assert all(one.agrees for one in rebuild(spark, nights, PRODUCTS))


def test_not_beside_a_night(spark: SparkSession, settings: Settings) -> None:
    with lease.hold(night_step.LEASE, settings), pytest.raises(LeaseHeld, match="night-steps"):
        list(compact(spark, settings))
