"""A layer is checked as a whole: recorded once per run, never passed by a check that did not run."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession
from table_rows import AT, CUSTOMER, DAY, ORDER, PRODUCT, change, frame, mart_schema, row

from lakehouse import delta_io
from lakehouse.errors import UnsafeIdentifier
from lakehouse.settings import Settings
from lakehouse.tables import (
    CLICK_EVENTS,
    CLICKS,
    CUSTOMERS,
    HEARTBEATS,
    INVENTORY_EVENTS,
    INVENTORY_LEVELS,
    ORDERS,
    PRODUCTS,
    QUALITY_RESULTS,
    QUALITY_SCORES,
    RUNS,
    SESSIONS,
    TableSpec,
)
from quality import orders_suite
from quality.business_day import business_day
from quality.checks import Check, is_present, is_unique
from quality.commands import quality
from quality.limits import SHOP
from quality.results import CheckResult, did_not_run, record
from quality.sales_suite import candidate, read_totals
from quality.score import record_scores
from quality.suites import LayerResult, check_layer
from quality.validation import Validator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small lakehouse in which everything is in order."""
    settings = Settings(home=tmp_path_factory.mktemp("checked"), _env_file=None)  # type: ignore[call-arg]

    def write(spec: TableSpec, rows: list[dict[str, Any]]) -> None:
        schema = mart_schema(spec.table) if spec.layer == "candidate" else spec.schema
        frame(spark, schema, rows).coalesce(1).write.format("delta").save(spec.path(settings))

    images = {ORDERS: ORDER, CUSTOMERS: CUSTOMER, PRODUCTS: PRODUCT, HEARTBEATS: {"id": 1, "beat": 1, "beat_at": AT}}
    for table, image in images.items():
        key = {name: image[name] for name in table.keys}
        write(table.changes, [change("c", 1, key, image)])
        if table.has_silver:
            write(table.silver, [image | {"_source_at": AT}])
            write(table.deleted, [])
    for spec in (INVENTORY_EVENTS, CLICK_EVENTS, INVENTORY_LEVELS, CLICKS, SESSIONS):
        write(spec, [row(spec.name)])
    write(candidate("fct_orders"), [row("candidate.fct_orders")])
    write(candidate("dim_products"), [row("candidate.dim_products")])
    anonymous = row("candidate.dim_customers", customer_id=-1, is_anonymous=True)
    write(candidate("dim_customers"), [row("candidate.dim_customers"), anonymous])
    sales = row("candidate.agg_daily_sales", orders=1, revenue=Decimal("19.90"), average_order_value=Decimal("19.90"))
    write(candidate("agg_daily_sales"), [sales])
    return settings


@pytest.fixture(scope="module")
def layers(spark: SparkSession, home: Settings) -> dict[str, LayerResult]:
    return {layer: check_layer(spark, home, layer, DAY, "night-1") for layer in ("bronze", "silver", "candidate")}


def recorded(spark: SparkSession, settings: Settings, run_id: str) -> list[Any]:
    return delta_io.read(spark, QUALITY_RESULTS, settings).where(f"run_id = '{run_id}'").collect()


@pytest.mark.parametrize("layer", ["bronze", "silver", "candidate"])
def test_a_layer_in_order_passes_every_check(layer: str, layers: dict[str, LayerResult]) -> None:
    assert layers[layer].failures == []
    assert layers[layer].warnings == []


def test_a_rerun_replaces_its_rows_in_one_commit_and_leaves_those_of_dbt(
    spark: SparkSession, home: Settings, layers: dict[str, LayerResult]
) -> None:
    before = recorded(spark, home, "night-1")
    dbt = before[0].asDict() | {"layer": "candidate", "check_name": "dbt:unique_x", "table_name": "candidate.x"}
    delta_io.append(spark.createDataFrame([tuple(dbt.values())], QUALITY_RESULTS.schema), QUALITY_RESULTS, home)
    version = delta_io.version(spark, QUALITY_RESULTS, home)

    record(spark, home, "candidate", DAY, "night-1", layers["candidate"].results)

    after = recorded(spark, home, "night-1")
    assert delta_io.version(spark, QUALITY_RESULTS, home) == version + 1
    assert len(after) == len(before) + 1
    keys = [(one.table_name, one.check_name, one.column_name) for one in after]
    assert len(set(keys)) == len(keys)


def test_a_night_in_order_scores_100_but_for_the_dbt_tests_that_did_not_run(
    spark: SparkSession, home: Settings, layers: dict[str, LayerResult]
) -> None:
    score = record_scores(spark, home, DAY, "night-1")
    rows = delta_io.read(spark, QUALITY_SCORES, home).where("run_id = 'night-1'").collect()
    lowered = {row.table_name for row in rows if row.score < 100}
    assert lowered <= {"all", "candidate.all"}
    night = next(row for row in rows if row.table_name == "all")
    assert night.score == score
    record_scores(spark, home, DAY, "night-1")
    assert delta_io.read(spark, QUALITY_SCORES, home).where("run_id = 'night-1'").count() == len(rows)


def test_a_missing_table_fails_all_its_checks_and_blocks(spark: SparkSession, tmp_path: Path) -> None:
    empty = Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]
    result = check_layer(spark, empty, "silver", DAY, "night-2")
    assert not any(one.is_success for one in result.results)
    assert all("did not run: The table silver." in one.observed for one in result.results)
    assert len(result.failures) == sum(one.check.is_blocking for one in result.results)
    # Nothing that a night should have checked has a result that counts.
    assert record_scores(spark, empty, DAY, "night-2") == 0
    assert {row.is_success for row in recorded(spark, empty, "night-2")} == {False}


def test_totals_that_can_not_be_read_are_checks_that_did_not_run(spark: SparkSession, tmp_path: Path) -> None:
    nothing = read_totals(spark, Settings(home=tmp_path, _env_file=None))  # type: ignore[call-arg]
    assert (nothing.order_lines, nothing.revenue) == (None, None)


def test_an_expectation_that_raises_did_not_run_and_the_others_did(spark: SparkSession) -> None:
    whole = orders_suite.silver(SHOP, business_day(Settings(), DAY))
    broken = Check(
        "broken", "ExpectColumnMeanToBeBetween", "status", {"column": "status", "max_value": 1}, "validity", ""
    )
    suite = replace(whole, checks=(is_present("order_id"), is_present("no_such_column"), broken, is_unique("order_id")))
    rows = frame(spark, suite.table.schema, [row("silver.orders")])
    results = {one.check.name: one for one in Validator().validate(suite, rows)}
    assert results["order_id_is_present"].is_success
    assert results["order_id_is_unique"].is_success
    for name in ("no_such_column_is_present", "broken"):
        assert not results[name].is_success
        assert results[name].observed.startswith("did not run: ")


def test_bronze_is_checked_for_what_arrived_since_the_day_began(spark: SparkSession, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]
    old = change("c", 1, {"order_id": None}, ORDER, _ingested_at=datetime(2026, 11, 1, 12))
    delta_io.append(
        frame(spark, ORDERS.changes.schema, [old, change("c", 2, {"order_id": 2}, ORDER)]), ORDERS.changes, settings
    )

    def ended(status: str, started_at: datetime, step: str = "bronze") -> None:
        run = {"run_id": str(started_at), "step": step, "status": status, "started_at": started_at}
        delta_io.append(frame(spark, RUNS.schema, [run]), RUNS, settings)

    def failed(day: date) -> bool:
        results = check_layer(spark, settings, "bronze", day, "night-3").results
        return any(one.check.name == "order_id_is_present" and not one.is_success for one in results)

    assert failed(DAY), "no night has passed any of it"
    # The night of that day was closed by it, and there was none for three weeks.
    ended("succeeded", datetime(2026, 11, 1, 6))
    ended("failed", datetime(2026, 11, 2, 6))
    ended("succeeded", datetime(2026, 11, 2, 6), step="silver")
    assert failed(DAY)
    ended("succeeded", datetime(2026, 11, 22, 6))
    assert not failed(DAY)
    assert failed(date(2026, 11, 1))


def test_no_value_of_a_personal_column_is_stored(spark: SparkSession, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]
    rows = [row("silver.customers", customer_id=number, email="not-an-address-of-ada") for number in (1, 2)]
    delta_io.append(frame(spark, CUSTOMERS.silver.schema, rows), CUSTOMERS.silver, settings)
    check_layer(spark, settings, "silver", DAY, "night-4")
    text = str(recorded(spark, settings, "night-4"))
    assert "email_is_well_formed" in text
    assert "not-an-address" not in text


def test_a_run_id_that_could_change_the_predicate_is_refused(spark: SparkSession, home: Settings) -> None:
    with pytest.raises(UnsafeIdentifier):
        record(spark, home, "silver", DAY, "x' or '1'='1", [])


@pytest.fixture
def shown(home: Settings, layers: dict[str, LayerResult]) -> Any:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(quality, ["show", *arguments], obj=home)

    return run


def test_show_prints_results_and_score_without_spark(spark: SparkSession, home: Settings, shown: Any) -> None:
    failed = did_not_run("silver.orders", is_present("amount"), "on purpose")
    passed = CheckResult("silver.orders", is_unique("order_id"), True, "0 of 9 rows differ", 9, 0)
    later = date(2026, 11, 24)
    record(spark, home, "silver", later, "night-5", [failed, passed])
    record_scores(spark, home, later, "night-5")
    whole, only_failed, missing = shown("--date", "2026-11-24"), shown("--failed"), shown("--date", "2020-01-01")
    assert "run night-5" in whole.output
    assert "FAIL  amount_is_present" in whole.output
    assert "did not run: on purpose" in whole.output
    assert "order_id_is_unique" in whole.output
    assert "2 checks: 1 failed, 0 warned" in whole.output
    assert "Quality score " in whole.output
    assert "order_id_is_unique" not in only_failed.output.partition("Quality score")[0]
    assert missing.exit_code == 1
    assert "Nothing was checked for 2020-01-01" in missing.output
