"""The Gold candidate over several nights: what changed in Silver arrives, what was deleted leaves, and no more."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from table_rows import forget_catalog, frame, row

from batch import gold
from batch.marts import candidate
from lakehouse import delta_io
from lakehouse.errors import StepFailed, TableMissing
from lakehouse.settings import Settings
from lakehouse.tables import CUSTOMERS, INVENTORY_LEVELS, ORDERS, PRODUCTS, QUALITY_RESULTS, SESSIONS, TableSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DAY = date(2026, 11, 23)
EARLIER = date(2026, 11, 20)
LONG_AGO = date(2026, 10, 1)


def write(spark: SparkSession, settings: Settings, spec: TableSpec, *rows: dict[str, Any]) -> None:
    delta_io.overwrite(frame(spark, spec.schema, list(rows)).coalesce(1), spec, settings)


def order(order_id: int, **values: Any) -> dict[str, Any]:
    return row("silver.orders", order_id=order_id, **values)


def customer(customer_id: int, **values: Any) -> dict[str, Any]:
    return row("silver.customers", customer_id=customer_id, **values)


def product(product_id: str, **values: Any) -> dict[str, Any]:
    return row("silver.products", product_id=product_id, **values)


def mart(spark: SparkSession, settings: Settings, name: str) -> list[Row]:
    return delta_io.read(spark, candidate(name), settings).collect()


def facts(spark: SparkSession, settings: Settings) -> dict[int, Row]:
    return {one["order_id"]: one for one in mart(spark, settings, "fct_orders")}


class Shop:
    """Silver of a small shop, its candidate, and what the nights made of them."""

    def __init__(self, spark: SparkSession, home: Path) -> None:
        self.spark = spark
        self.settings = Settings(home=home, _env_file=None)  # type: ignore[call-arg]
        self.after_first: dict[int, Row] = {}
        self.after_second: dict[int, Row] = {}

    def first_silver(self) -> None:
        self.write(
            ORDERS.silver,
            order(1),
            order(2, order_date=date(2026, 11, 22), status="pending"),
            order(3, customer_id=None, product_id="POST", amount=Decimal("4.95"), quantity=1),
            order(4, customer_id=8, quantity=-1, amount=Decimal("-9.95")),
            order(5, customer_id=404, amount=Decimal("0.00")),
        )
        self.write(CUSTOMERS.silver, customer(7), customer(8), customer(9))
        self.write(CUSTOMERS.deleted)
        self.write(PRODUCTS.silver, product("HOM-001"), product("POST", category="Fees", unit_cost=None))
        self.write(PRODUCTS.deleted)
        self.write(INVENTORY_LEVELS, row("silver.inventory_levels"))
        self.write(SESSIONS, row("silver.sessions"))

    def second_silver(self) -> None:
        self.write(
            ORDERS.silver,
            order(1),
            # Changed, and older than the newest order; 3 was deleted; 6 arrived late.
            order(2, order_date=date(2026, 11, 22), status="cancelled"),
            order(4, customer_id=8, quantity=-1, amount=Decimal("-9.95")),
            order(5, customer_id=404, amount=Decimal("0.00")),
            order(6, order_date=LONG_AGO, product_id="OLD", amount=Decimal("7.00"), quantity=1),
        )
        gone = {"_deleted_at": datetime(2026, 11, 23, 8)}  # wall clock of the session zone
        self.write(CUSTOMERS.silver, customer(7))
        self.write(CUSTOMERS.deleted, customer(8) | gone, customer(9) | gone)
        # The cost of a product changed, and no order of it did.
        self.write(PRODUCTS.silver, product("HOM-001", unit_cost=Decimal("5.00")))
        self.write(PRODUCTS.deleted, product("OLD", unit_cost=Decimal("1.00")) | gone, product("POST") | gone)

    def write(self, spec: TableSpec, *rows: dict[str, Any]) -> None:
        write(self.spark, self.settings, spec, *rows)

    def night(self, business_date: date, run_id: str) -> None:
        forget_catalog(self.spark)
        gold.build_candidate(self.spark, self.settings, business_date, run_id)

    def mart(self, name: str) -> list[Row]:
        return mart(self.spark, self.settings, name)

    def results(self, run_id: str) -> list[Row]:
        return delta_io.read(self.spark, QUALITY_RESULTS, self.settings).where(f"run_id = '{run_id}'").collect()


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two nights with changes between; before the first, a build was killed before its first commit."""
    shop = Shop(spark, tmp_path_factory.mktemp("gold-home"))
    shop.first_silver()
    half_built = Path(candidate("dim_products").path(shop.settings))
    (half_built / "_delta_log").mkdir(parents=True)
    (half_built / "part-00000-of-a-killed-build.snappy.parquet").write_bytes(b"PAR1")
    shop.night(DAY, "night-1")
    shop.after_first = facts(spark, shop.settings)
    shop.second_silver()
    shop.night(DAY, "night-2")
    shop.after_second = facts(spark, shop.settings)
    return shop


def test_the_first_night_holds_all_orders_and_says_what_they_are(shop: Shop) -> None:
    kinds = {order_id: (one["line_type"], one["is_revenue"]) for order_id, one in shop.after_first.items()}
    assert kinds == {
        1: ("sale", True),
        2: ("sale", True),
        3: ("fee", False),
        4: ("return", True),
        5: ("sale", True),
    }
    assert shop.after_first[3]["customer_id"] == -1


def test_a_deleted_order_leaves(shop: Shop) -> None:
    assert 3 in shop.after_first
    assert 3 not in shop.after_second


def test_an_order_that_changed_late_is_updated_and_a_late_one_arrives(shop: Shop) -> None:
    assert shop.after_second[2]["status"] == "cancelled"
    assert not shop.after_second[2]["is_revenue"]
    assert shop.after_second[6]["order_date"] == LONG_AGO


def test_a_new_cost_reaches_the_lines_of_orders_that_did_not_change(shop: Shop) -> None:
    assert (shop.after_first[1]["cost"], shop.after_first[1]["profit"]) == (Decimal("8.00"), Decimal("11.90"))
    assert (shop.after_second[1]["cost"], shop.after_second[1]["profit"]) == (Decimal("10.00"), Decimal("9.90"))


def test_a_deleted_customer_with_orders_stays_marked_and_one_without_leaves(shop: Shop) -> None:
    marks = {one["customer_id"]: (one["is_deleted"], one["is_unknown"]) for one in shop.mart("dim_customers")}
    assert marks == {-1: (False, False), 7: (False, False), 8: (True, False), 404: (False, True)}


def test_a_deleted_product_with_orders_stays_marked_and_one_without_leaves(shop: Shop) -> None:
    marks = {one["product_id"]: one["is_deleted"] for one in shop.mart("dim_products")}
    assert marks == {"HOM-001": False, "OLD": True}


def test_daily_sales_add_up_to_the_lines_that_are_revenue(shop: Shop) -> None:
    lines = sum(one["amount"] for one in shop.after_second.values() if one["is_revenue"])
    assert sum(one["revenue"] for one in shop.mart("agg_daily_sales")) == lines == Decimal("16.95")


def test_the_results_of_the_tests_are_kept_and_only_the_unknown_customer_warns(shop: Shop) -> None:
    results = shop.results("night-2")
    assert len({one["check_name"] for one in results}) == len(results) > 20
    failed = {(one["table_name"], one["column_name"], one["is_blocking"]) for one in results if not one["is_success"]}
    assert failed == {("candidate.dim_customers", "is_unknown", False)}
    assert {one["layer"] for one in results} == {"candidate"}


def test_the_models_calculate_what_they_say(shop: Shop) -> None:
    arguments = {"business_date": DAY.isoformat(), "warehouse": shop.settings.warehouse}
    results = gold.run(shop.settings, ["test", "--select", "test_type:unit"], arguments, None)
    assert {one.node.name: one.message for one in results if str(one.status) != "pass"} == {}
    assert len(results) >= 12


def test_a_rerun_changes_no_number_and_an_earlier_date_only_what_has_a_date(shop: Shop) -> None:
    before = {name: set(shop.mart(name)) for name in ("fct_orders", "dim_customers", "agg_daily_sales")}
    arguments = {"business_date": EARLIER.isoformat(), "warehouse": shop.settings.warehouse}
    gold.run(shop.settings, ["run", "--select", "marts"], arguments, None)
    assert set(shop.mart("fct_orders")) == before["fct_orders"]
    assert set(shop.mart("dim_customers")) == before["dim_customers"]
    assert {one["as_of_date"] for one in shop.mart("reorder_points")} == {EARLIER}
    # Both customers bought only after that day, but for the late order of one of them.
    assert {one["customer_id"]: one["recency_days"] for one in shop.mart("customer_segments")} == {7: 50}

    arguments["business_date"] = DAY.isoformat()
    gold.run(shop.settings, ["run", "--select", "marts"], arguments, None)
    assert set(shop.mart("agg_daily_sales")) == before["agg_daily_sales"]


def test_the_merged_table_is_what_a_full_refresh_builds(shop: Shop) -> None:
    merged = set(shop.mart("fct_orders"))
    arguments = {"business_date": DAY.isoformat(), "warehouse": shop.settings.warehouse}
    gold.run(shop.settings, ["run", "--select", "fct_orders", "--full-refresh"], arguments, None)
    assert set(shop.mart("fct_orders")) == merged


def test_a_failed_check_stops_the_night_by_its_name_and_is_kept(shop: Shop) -> None:
    shop.write(ORDERS.silver, order(1, amount=Decimal("-19.90")))
    with pytest.raises(StepFailed, match="not_negative_fct_orders_amount"):
        shop.night(DAY, "night-3")
    results = {one["check_name"]: one for one in shop.results("night-3")}
    assert results["dbt:not_negative_fct_orders_amount"]["rows_failed"] == 1
    # What comes after it did not run, which is no pass.
    assert not results["dbt:unique_customer_segments_customer_id"]["is_success"]
    assert results["dbt:unique_customer_segments_customer_id"]["observed"].startswith("did not run")


def test_without_silver_nothing_is_built(spark: SparkSession, settings: Settings) -> None:
    with pytest.raises(TableMissing, match=r"silver\.orders"):
        gold.build_candidate(spark, settings, DAY, "night-1")
