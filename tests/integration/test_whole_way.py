"""The whole way on real parts, in one warm driver: a shop trades, the streams catch up, a night runs, the counts
are equal.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from batch import night
from infra.demo import checks
from infra.shop.account import Account
from infra.shop.opening import Sizes
from infra.shop.run import run_shop
from lakehouse import direct_read
from lakehouse.session import point_at_store
from lakehouse.settings import Settings
from lakehouse.tables import MARTS
from streaming import night as bronze_night

# The first test pays for the stack, a trading day and a night.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]
DAY = date(2026, 11, 23)


def run_night(spark: SparkSession, settings: Settings, day: date, run_id: str) -> None:
    bronze_night.bronze(spark, settings, day, run_id)
    night.silver(spark, settings, day, run_id)
    night.gold(spark, settings, day, run_id)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Account]:
    """A home of its own beside the shared stack, after one trading day and one night."""
    home: Path = tmp_path_factory.mktemp("whole-way")
    settings = stack.model_copy(update={"home": home})
    point_at_store(spark, settings)
    account = run_shop(settings, business_date=DAY, sizes=Sizes(scale=0.2, ticks=8))
    run_night(spark, settings, DAY, "first")
    return settings, account


def numbers(settings: Settings) -> dict[str, list[Any]]:
    """All published rows, without the columns that say when a run was."""
    found = {}
    for mart in MARTS:
        connection = direct_read.connect(settings, f"gold.{mart}")
        columns = [row[0] for row in direct_read.rows(connection, f'describe "gold"."{mart}"')]
        kept = ", ".join(name for name in columns if not name.startswith("_"))
        found[mart] = sorted(map(repr, direct_read.rows(connection, f'select {kept} from "gold"."{mart}"')))
    return found


def test_every_count_equals_the_shops_account(lake: tuple[Settings, Account]) -> None:
    settings, account = lake
    ours = [check for check in checks.all_checks(settings, account, None) if not check.name.startswith("low stock")]
    assert [f"{check.name}: {check.summary}" for check in ours if not check.holds] == []
    assert len(ours) > 20


def test_a_second_night_for_the_same_date_changes_no_number(
    spark: SparkSession, lake: tuple[Settings, Account]
) -> None:
    settings, _ = lake
    before = numbers(settings)
    run_night(spark, settings, DAY, "second")
    assert numbers(settings) == before


def test_a_night_for_an_earlier_date_never_moves_silver_back(
    spark: SparkSession, lake: tuple[Settings, Account]
) -> None:
    settings, account = lake
    # Gold for an earlier date has tests of its own (tests/dbt/test_candidate.py).
    bronze_night.bronze(spark, settings, DAY - timedelta(days=2), "earlier")
    night.silver(spark, settings, DAY - timedelta(days=2), "earlier")
    silver = [check for check in checks.all_checks(settings, account, None) if check.name.startswith("silver")]
    assert [check.name for check in silver if not check.holds] == []
    assert len(silver) == 7
