"""Keys of rejected changes on the real stack: the comparison names them, and they agree when the cause is cured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from batch import reconcile_now
from batch.commands import batch
from batch.forget_deletes import forget_deletes
from batch.reconcile_now import Outcome
from batch.repair import Repaired
from lakehouse import delta_io
from lakehouse.session import point_at_store
from lakehouse.settings import Settings
from lakehouse.tables import CUSTOMERS, ORDERS, SILVER_CAPTURED, quarantine_of
from streaming import queries
from streaming.quarantine_commands import quarantine

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]
FIRST = 910_000_000
"""Keys of these tests, apart from those of others on the same stack."""
CUSTOMER = "insert into customers values (%s, %s, null, 'North', now(), now())"
LONG, LIMIT = "x" * 30_000, 20_000


@pytest.fixture(scope="module")
def shop(stack: Settings) -> Iterator[psycopg.Connection[Any]]:
    """The shop's own connection."""
    with psycopg.connect(**stack.postgres_conninfo, autocommit=True) as connection:  # type: ignore[arg-type]
        yield connection


@pytest.fixture(scope="module")
def lake(spark: SparkSession, stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home of its own beside the shared stack, in agreement with it."""
    home: Path = tmp_path_factory.mktemp("quarantined-keys")
    settings = stack.model_copy(update={"home": home})
    point_at_store(spark, settings)
    assert compare(spark, settings).agrees
    return settings


def compare(spark: SparkSession, settings: Settings) -> Outcome:
    """Compare now; Bronze takes what is new by these settings."""

    def catch_up() -> None:
        queries.catch_up(spark, settings, "changes")

    return reconcile_now.compare(settings, SILVER_CAPTURED, lambda: spark, catch_up, with_keys=True)


def named(outcome: Outcome) -> list[tuple[str, int, str, bool]]:
    return [(one.table.name, int(str(one.key[0])) - FIRST, one.kind, one.is_quarantined) for one in outcome.keys]


def rejected(spark: SparkSession, settings: Settings, stream: str) -> list[list[str]]:
    return [row["reasons"] for row in delta_io.read(spark, quarantine_of(stream), settings).collect()]


@pytest.fixture
def wider_quantity(shop: psycopg.Connection[Any]) -> Iterator[None]:
    """The source holds larger quantities than are declared."""
    shop.execute("alter table orders alter quantity type bigint")
    yield
    shop.execute("delete from orders where quantity > 2000000000")
    shop.execute("alter table orders alter quantity type int")


def test_a_value_that_does_not_fit_is_a_named_difference_until_the_source_corrects_it(
    spark: SparkSession, lake: Settings, shop: psycopg.Connection[Any], wider_quantity: None
) -> None:
    insert = "insert into orders values (%s, 1, 'T-1', '2026-11-23', %s, 1, 'pending', now())"
    shop.execute(insert, [FIRST + 1, 3_000_000_000])
    shop.execute(insert, [FIRST + 2, 3])
    found = compare(spark, lake)
    assert named(found) == [("orders", 1, "lost", True)]
    # A shop that traded before has rejected changes of its own.
    assert re.search(r"1 of 256 buckets differ, \d+ changes are in the quarantine", str(found.tables[0]))
    assert rejected(spark, lake, ORDERS.changes.table).count(["type_does_not_fit:quantity"]) == 1
    # Read again it fits no better.
    assert reconcile_now.repair_keys(spark, lake, found) == {"orders": Repaired(rows_read=1, keys_folded=0)}
    again = compare(spark, lake)
    assert named(again) == named(found)
    assert again.tables[0].quarantined == found.tables[0].quarantined + 1

    shop.execute("update orders set quantity = 4 where order_id = %s", [FIRST + 1])
    assert compare(spark, lake).agrees


def test_a_change_that_no_merge_could_place_is_a_named_difference_until_it_is_replayed(
    spark: SparkSession, lake: Settings, shop: psycopg.Connection[Any]
) -> None:
    small = lake.model_copy(update={"max_record_bytes": LIMIT})
    shop.execute(CUSTOMER, [FIRST + 1, LONG])
    shop.execute(CUSTOMER, [FIRST + 2, "Ann"])
    shop.execute("delete from customers where customer_id = %s", [FIRST + 2])
    assert named(compare(spark, small)) == [("customers", 1, "lost", True)]
    assert rejected(spark, lake, CUSTOMERS.changes.table) == [["oversize"]]

    # The limit is raised and the row comes back, below the horizon of the deletes that were forgotten meanwhile.
    assert forget_deletes(spark, lake, CUSTOMERS, datetime.now(UTC) + timedelta(days=1)) >= 1
    replayed = CliRunner().invoke(quarantine, ["replay", "--stream", "customers_changes"], obj=lake)
    assert "customers_changes: 1 replayed" in replayed.output
    found = compare(spark, lake)
    assert named(found) == [("customers", 1, "lost", True)]
    assert rejected(spark, lake, CUSTOMERS.rejects) == [["below_purge_horizon"]]
    assert [one.quarantined for one in found.tables if one.differing] == [1], "what was replayed explains nothing"

    placed = CliRunner().invoke(batch, ["replay", "customers"], obj=lake)
    assert "silver.customers: 1 placed" in placed.output
    assert compare(spark, lake).agrees
    names = delta_io.read(spark, CUSTOMERS.silver, lake).where(F.col("customer_id") == FIRST + 1)
    assert [row["customer_name"] for row in names.collect()] == [LONG]
