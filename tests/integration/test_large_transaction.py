"""Very many rows in one transaction that stays open across a night's cut: that night does not hold them, the next one
does, and the first night made again a day later is what it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from batch import reconcile
from batch.reconcile import held
from infra.local import stack as supervisor
from lakehouse import arrival, delta_io, night_cut, source_rows
from lakehouse.session import point_at_store
from lakehouse.settings import Settings
from lakehouse.source_rows import Bucket
from lakehouse.tables import CUTS, ORDERS, SILVER_CAPTURED, VERIFIED
from streaming import queries

# A stack of its own: so many more rows would slow every comparison of the other tests.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]
DAY, NEXT_DAY = date(2026, 11, 23), date(2026, 11, 24)
FIRST = 500_000_000
# A million takes a quarter of an hour on two cores: set it by hand.
ROWS = int(os.environ.get("LARGE_TRANSACTION_ROWS", "50000"))
BEFORE = """
insert into customers select one, 'Zoë ' || one, null, 'North', now(), now() from generate_series(1, 50) one;
insert into products values ('T-1', 'Lamp', null, repeat('long ', 600), 1.05, 2.10, now());
insert into orders select one, one, 'T-1', '2026-11-23', 1, one * 1.25, 'pending', now()
from generate_series(1, 50) one;
"""
LARGE = f"""
insert into orders select {FIRST} + one, 1 + one % 50, 'T-1', '2026-11-23', 1 + one % 9, one % 90000 / 100.0, 'pending',
clock_timestamp() from generate_series(1, {ROWS}) one
"""


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A night has its cut while three transactions are open; they end, and reach Bronze before the night's merge."""
    with supervisor.running(tmp_path_factory.mktemp("million-home")) as settings:
        point_at_store(spark, settings)
        with connect(settings) as opening:
            opening.execute(BEFORE)
        with connect(settings) as large, connect(settings) as small, connect(settings) as undone:
            large.execute(LARGE)
            small.execute("update orders set status = 'cancelled' where order_id = 1")
            small.execute("delete from orders where order_id = 2")
            undone.execute("delete from orders where order_id = 3")
            take_cut(spark, settings, "first", DAY)
            undone.rollback()
            small.commit()
            large.commit()
        to_bronze(spark, settings)
        yield settings


def connect(settings: Settings) -> psycopg.Connection[Any]:
    return psycopg.connect(**settings.postgres_conninfo)  # type: ignore[arg-type]


def take_cut(spark: SparkSession, settings: Settings, run: str, day: date) -> None:
    """The cut of the night's step `bronze`."""
    night_cut.record(spark, settings, run, day, *source_rows.read(settings))


def to_bronze(spark: SparkSession, settings: Settings) -> None:
    """Everything that Postgres has committed."""
    ends = arrival.ends_after_beat(settings)
    queries.catch_up(spark, settings, "changes")
    arrival.wait_for_bronze(spark, settings, ends, timeout_seconds=0)


def merge(spark: SparkSession, settings: Settings, run: str, day: date) -> int:
    """What the night's step `silver` does with the captured tables; raises `SilverDiffers` and `SilverIsLater`."""
    cut, tables = night_cut.recorded(spark, settings, run)
    merged, found = reconcile.merge_and_compare(spark, settings, cut, tables)
    reconcile.record(spark, settings, run, day, cut, found)
    reconcile.require_agreement(found, [])
    return merged


def large_rows(spark: SparkSession, settings: Settings) -> int:
    return delta_io.read(spark, ORDERS.silver, settings).where(F.col("order_id") > FIRST).count()


def in_silver(spark: SparkSession, settings: Settings, run: str) -> dict[str, dict[int, Bucket]]:
    """Rows and hash of each bucket of the three tables, divided as the cut of the run was."""
    _, sources = night_cut.recorded(spark, settings, run)
    return {one.table.name: held(delta_io.read(spark, one.table.silver, settings), one) for one in sources}


def at_the_cut(spark: SparkSession, settings: Settings, run: str) -> dict[str, dict[int, Bucket]]:
    """The same as Postgres held it."""
    return {one.table.name: dict(one.held) for one in night_cut.recorded(spark, settings, run)[1]}


def test_bronze_holds_all_rows_before_the_merge(spark: SparkSession, shop: Settings) -> None:
    changes = delta_io.read(spark, ORDERS.changes, shop).where(F.col("key")["order_id"] > FIRST)
    xid = F.split_part("transaction_id", F.lit(":"), F.lit(1))
    found = changes.agg(F.count("*"), F.count_distinct("key"), F.count_distinct(xid)).collect()
    assert tuple(found[0]) == (ROWS, ROWS, 1)


def test_the_night_of_the_cut_does_not_hold_them(spark: SparkSession, shop: Settings) -> None:
    assert merge(spark, shop, "first", DAY) == 101
    assert large_rows(spark, shop) == 0
    assert in_silver(spark, shop, "first") == at_the_cut(spark, shop, "first")


def test_the_next_night_holds_them(spark: SparkSession, shop: Settings) -> None:
    take_cut(spark, shop, "second", NEXT_DAY)
    to_bronze(spark, shop)
    assert merge(spark, shop, "second", NEXT_DAY) == ROWS + 2
    assert large_rows(spark, shop) == ROWS
    assert in_silver(spark, shop, "second") == at_the_cut(spark, shop, "second")
    marks = delta_io.read(spark, VERIFIED, shop).collect()
    assert {row["table_name"]: row["run_id"] for row in marks} == {one.name: "second" for one in SILVER_CAPTURED}


def test_the_first_night_made_again_a_day_later_is_what_it_was(
    spark: SparkSession, shop: Settings, tmp_path: Path
) -> None:
    """From the Bronze of the day after, with the cut that was kept, into a warehouse without Silver."""
    anew = shop.model_copy(update={"home": tmp_path})
    for name in ("bronze", CUTS.name.replace(".", "/")):
        shutil.copytree(Path(shop.warehouse) / name, tmp_path / "warehouse" / name)
    assert merge(spark, anew, "first", DAY) == 101
    assert large_rows(spark, anew) == 0
    assert in_silver(spark, anew, "first") == at_the_cut(spark, shop, "first")
