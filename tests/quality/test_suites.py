"""Every check goes red on the defect that it is for, and only then."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from table_rows import AT, CUSTOMER, DAY, ORDER, change, frame, mart_schema, row

from lakehouse.settings import Settings
from lakehouse.tables import CUSTOMERS, HEARTBEATS, ORDERS
from quality import changes_suite, clicks_suite, customers_suite, inventory_suite, orders_suite, products_suite
from quality import sales_suite as sales
from quality.business_day import business_day
from quality.checks import Suite
from quality.limits import ONLINE_RETAIL, SHOP
from quality.results import CheckResult
from quality.validation import Validator

Rows = list[dict[str, Any]]
TODAY = business_day(Settings(), DAY)
TOTALS = sales.Totals(order_lines=24, revenue=720.0)


@pytest.fixture(scope="module")
def validator(spark: SparkSession) -> Validator:
    return Validator()


def check(validator: Validator, spark: SparkSession, suite: Suite, rows: Rows) -> dict[str, CheckResult]:
    mart = suite.table.layer == "candidate"
    schema = mart_schema(suite.table.table) if mart else suite.table.schema
    results = validator.validate(suite, frame(spark, schema, rows))
    assert [one.check for one in results] == list(suite.checks)
    return {one.check.name: one for one in results}


def failed_rows(results: dict[str, CheckResult]) -> dict[str, int | None]:
    return {name: one.rows_failed for name, one in results.items() if not one.is_success}


def did_run(results: Iterable[CheckResult]) -> bool:
    return not any(one.observed.startswith("did not run") for one in results)


def numbered(table: str, key: str, count: int = 24, **values: Any) -> Rows:
    """`count` rows in order; the key is a number from 101, or a word where the table's keys are words."""
    is_word = isinstance(row(table).get(key), str)
    return [
        row(table, **{key: f"{key}{number}" if is_word else number}, **values) for number in range(101, 101 + count)
    ]


def deletes_and_updates(key: str, image: dict[str, Any]) -> Rows:
    made = [change("c" if n % 2 else "u", n, {key: n}, image | {key: n}) for n in range(1, 11)]
    return [*made, change("d", 11, {key: 1}, None), change("t", 12, {key: None}, None)]


GOOD: dict[str, tuple[Suite, Rows]] = {
    "orders changes": (changes_suite.suite(ORDERS, SHOP, TODAY), deletes_and_updates("order_id", ORDER)),
    "customers changes": (changes_suite.suite(CUSTOMERS, SHOP, TODAY), deletes_and_updates("customer_id", CUSTOMER)),
    "heartbeats": (
        changes_suite.suite(HEARTBEATS, SHOP, TODAY),
        [change("u", n, {"id": 1}, {"id": 1, "beat": n, "beat_at": AT}) for n in range(1, 4)],
    ),
    "stock events": (inventory_suite.bronze(), numbered("bronze.inventory_events", "_offset")),
    "click events": (clicks_suite.bronze(), numbered("bronze.click_events", "_source_line")),
    "orders": (
        orders_suite.silver(SHOP, TODAY),
        [
            *numbered("silver.orders", "order_id"),
            row("silver.orders", order_id=1, quantity=-1, amount=Decimal("-9.95")),
            row("silver.orders", order_id=2, customer_id=None),
            row("silver.orders", order_id=3, amount=Decimal("0.00")),
            row("silver.orders", order_id=4, quantity=100, amount=Decimal("1000000.00")),
        ],
    ),
    "customers": (customers_suite.silver(SHOP), numbered("silver.customers", "customer_id")),
    "products": (products_suite.silver(SHOP), numbered("silver.products", "product_id")),
    "stock levels": (inventory_suite.silver(), numbered("silver.inventory_levels", "sku")),
    "clicks": (clicks_suite.silver(), numbered("silver.clicks", "event_id")),
    "sessions": (clicks_suite.sessions(), numbered("silver.sessions", "session_id")),
    "order lines": (
        sales.order_lines(SHOP, TOTALS),
        [
            *numbered("candidate.fct_orders", "order_id", 22),
            row("candidate.fct_orders", order_id=1, line_type="fee", quantity=-500, amount=Decimal("-5.00")),
            row("candidate.fct_orders", order_id=2, line_type="return", quantity=-2, amount=Decimal("-19.90")),
        ],
    ),
    "dimension of customers": (
        sales.customers(SHOP),
        [
            *numbered("candidate.dim_customers", "customer_id"),
            row("candidate.dim_customers", customer_id=-1, is_anonymous=True),
        ],
    ),
    "dimension of products": (sales.products(SHOP), numbered("candidate.dim_products", "product_id")),
    "daily sales": (sales.daily_sales(SHOP, TODAY, TOTALS), numbered("candidate.agg_daily_sales", "category")),
}
"""A suite and rows that are in order, of every kind that the suite models (alone they pass: test_layers.py)."""

DEFECTS: dict[str, tuple[Rows, dict[str, int | None]]] = {
    "orders changes": (
        [
            change("c", 21, {"order_id": None}, ORDER),
            change("?", 22, {"order_id": 22}, ORDER),
            change("u", 23, {"order_id": 23}, ORDER, lsn=None),
            change("u", 24, {"order_id": 24}, ORDER, source_incarnation=None),
            change("u", 25, {"order_id": 25}, None),
            change("u", 26, {"order_id": 26}, ORDER),
            change("u", 26, {"order_id": 26}, ORDER),
            change("u", 27, {"order_id": 27}, ORDER | {"status": "lost"}),
            change("u", 28, {"order_id": 28}, ORDER | {"quantity": 101}),
            change("u", 29, {"order_id": 29}, ORDER | {"amount": Decimal("1000000.01")}),
            change("u", 30, {"order_id": 30}, ORDER | {"quantity": 0}),
            change("u", 31, {"order_id": 31}, ORDER | {"amount": Decimal("-0.01")}),
            change("u", 32, {"order_id": 32}, ORDER | {"quantity": -101, "amount": Decimal("-1.00")}),
            change("u", 33, {"order_id": 33}, ORDER | {"quantity": -1, "amount": Decimal("0.01")}),
        ],
        {
            "order_id_is_present": 1,
            "op_is_known": 1,
            "lsn_is_present": 1,
            "source_incarnation_is_present": 1,
            "never_without_image": 1,
            "position_is_unique": 2,
            "after_status_is_known": 1,
            "sale_quantity_is_in_bounds": 2,
            "return_quantity_is_in_bounds": 1,
            "sale_amount_is_in_bounds": 2,
            "return_amount_is_in_bounds": 1,
        },
    ),
    "customers changes": (
        [change("u", 21, {"customer_id": 7}, CUSTOMER | {"email": "nobody"})],
        {"after_email_is_well_formed": 1},
    ),
    "stock events": (
        [
            row("bronze.inventory_events", _offset=1, sku=None),
            row("bronze.inventory_events", _offset=2, warehouse_id=None),
            row("bronze.inventory_events", _offset=3, movement="theft"),
            row("bronze.inventory_events", _offset=4, on_hand=-10_000_001),
            row("bronze.inventory_events", _offset=101),
        ],
        {
            "sku_is_present": 1,
            "warehouse_id_is_present": 1,
            "movement_is_known": 1,
            "on_hand_is_in_bounds": 1,
            "position_is_unique": 2,
        },
    ),
    "click events": (
        [
            *(row("bronze.click_events", _source_line=n, session_id=None) for n in (1, 3, 4)),
            row("bronze.click_events", _source_line=2, event_type="hover"),
            row("bronze.click_events", _source_line=101),
        ],
        {"session_id_is_present": 3, "event_type_is_known": 1, "line_is_unique": 2},
    ),
    "orders": (
        [
            row("silver.orders", order_id=None),
            row("silver.orders", order_id=101),
            row("silver.orders", order_id=11, product_id=None),
            row("silver.orders", order_id=12, order_date=None),
            row("silver.orders", order_id=13, quantity=None),
            row("silver.orders", order_id=14, amount=None),
            row("silver.orders", order_id=15, status=None),
            row("silver.orders", order_id=16, status="lost"),
            row("silver.orders", order_id=17, quantity=0),
            row("silver.orders", order_id=18, quantity=101),
            row("silver.orders", order_id=19, quantity=-101, amount=Decimal("-1.00")),
            row("silver.orders", order_id=20, amount=Decimal("-0.01")),
            row("silver.orders", order_id=21, amount=Decimal("1000000.01")),
            row("silver.orders", order_id=22, quantity=-1, amount=Decimal("0.01")),
            row("silver.orders", order_id=23, order_date=DAY + timedelta(days=2)),
        ],
        {
            "order_id_is_present": 1,
            "order_id_is_unique": 2,
            "product_id_is_present": 1,
            "order_date_is_present": 1,
            "quantity_is_present": 1,
            "amount_is_present": 1,
            "status_is_present": 1,
            "status_is_known": 1,
            "sale_quantity_is_in_bounds": 2,
            "return_quantity_is_in_bounds": 1,
            "sale_amount_is_in_bounds": 2,
            "return_amount_is_in_bounds": 1,
            "never_dated_ahead": 1,
        },
    ),
    "customers": (
        [
            row("silver.customers", customer_id=None),
            row("silver.customers", customer_id=101),
            row("silver.customers", customer_id=11, customer_name=None),
            row("silver.customers", customer_id=12, email="nobody"),
            row("silver.customers", customer_id=13, updated_at=AT - timedelta(days=1)),
            *(row("silver.customers", customer_id=20 + n, region=None, email=None) for n in range(5)),
        ],
        {
            "customer_id_is_present": 1,
            "customer_id_is_unique": 2,
            "customer_name_is_present": 1,
            "email_is_well_formed": 1,
            "never_changed_before_created": 1,
            "region_is_present": 5,
            "email_is_present": 5,
        },
    ),
    "products": (
        [
            row("silver.products", product_id="product_id101"),
            row("silver.products", product_id="b", unit_price=None),
            row("silver.products", product_id="c", unit_price=Decimal("-1.00")),
            row("silver.products", product_id="d", unit_cost=Decimal("-1.00")),
            *(row("silver.products", product_id=f"e{n}", category=None) for n in range(3)),
        ],
        {
            "product_id_is_unique": 2,
            "unit_price_is_present": 1,
            "unit_price_is_in_bounds": 1,
            "unit_cost_is_in_bounds": 1,
            "category_is_present": 3,
        },
    ),
    "stock levels": (
        [
            row("silver.inventory_levels", sku="sku101"),
            row("silver.inventory_levels", sku="b", on_hand=None),
            *(row("silver.inventory_levels", sku=f"c{n}", on_hand=-1, is_negative=True) for n in range(3)),
            row("silver.inventory_levels", sku="d", missing_sequences=2),
            row("silver.inventory_levels", sku="e", is_sequence_suspect=True),
        ],
        {
            "sku_and_warehouse_are_unique": 2,
            "on_hand_is_present": 1,
            "is_negative_share_is_usual": None,
            "missing_sequences_is_in_bounds": 1,
            "is_sequence_suspect_share_is_usual": None,
        },
    ),
    "clicks": (
        [
            row("silver.clicks", event_id="event_id101"),
            row("silver.clicks", event_id="b", event_type="hover"),
            row("silver.clicks", event_id="c", event_date=None),
        ],
        {"event_id_is_unique": 2, "event_type_is_known": 1, "event_date_is_present": 1},
    ),
    "sessions": (
        [
            row("silver.sessions", session_id="session_id101"),
            row("silver.sessions", session_id="b", events=0),
            row("silver.sessions", session_id="c", ended_at=None),
            row("silver.sessions", session_id="d", duration_seconds=30 * 24 * 3600),
        ],
        {
            "session_id_is_unique": 2,
            "events_is_in_bounds": 1,
            "ended_at_is_present": 1,
            "duration_seconds_is_in_bounds": 1,
        },
    ),
    "order lines": (
        [
            row("candidate.fct_orders", order_id=101),
            row("candidate.fct_orders", order_id=11, customer_id=None),
            row("candidate.fct_orders", order_id=12, line_type="gift"),
            row("candidate.fct_orders", order_id=13, status="lost"),
            row("candidate.fct_orders", order_id=14, quantity=101),
            row("candidate.fct_orders", order_id=15, amount=Decimal("-0.01"), profit=Decimal("-8.01")),
            row("candidate.fct_orders", order_id=16, profit=Decimal("19.91")),
            *(row("candidate.fct_orders", order_id=20 + n, cost=None, profit=None) for n in range(2)),
        ],
        {
            "order_id_is_unique": 2,
            "customer_id_is_present": 1,
            "line_type_is_known": 1,
            "status_is_known": 1,
            "sale_quantity_is_in_bounds": 1,
            "sale_amount_is_in_bounds": 1,
            "never_profit_above_amount": 1,
            "cost_is_present": 2,
            "row_count_agrees": None,
        },
    ),
    "dimension of customers": (
        [
            row("candidate.dim_customers", customer_id=-1, is_anonymous=True),
            row("candidate.dim_customers", customer_id=12, region=None),
            row("candidate.dim_customers", customer_id=13, is_unknown=True),
        ],
        {
            "customer_id_is_unique": 2,
            "is_anonymous_sum_agrees": None,
            "region_is_present": 1,
            "is_unknown_share_is_usual": None,
        },
    ),
    "dimension of products": (
        [
            row("candidate.dim_products", product_id="product_id101"),
            row("candidate.dim_products", product_id="b", is_unknown=True),
            row("candidate.dim_products", product_id="c", category=None),
        ],
        {"product_id_is_unique": 2, "is_unknown_share_is_usual": None, "category_is_present": 1},
    ),
    "daily sales": (
        [
            row("candidate.agg_daily_sales", category="category101"),
            row("candidate.agg_daily_sales", category="b", region=None),
            row("candidate.agg_daily_sales", category="c", customers=3),
            row("candidate.agg_daily_sales", category="d", average_order_value=Decimal("-1.00")),
        ],
        {
            "grain_is_unique": 2,
            "region_is_present": 1,
            "never_more_customers_than_orders": 1,
            "average_order_value_is_in_bounds": 1,
            "revenue_sum_agrees": None,
        },
    ),
}
"""Rows that are added to the good ones, and exactly the checks that they must turn red, with the rows counted."""

OLD = AT - timedelta(days=30)
WHOLE_TABLE: dict[str, tuple[Suite, Rows, set[str]]] = {
    "no heartbeat today": (
        GOOD["heartbeats"][0],
        [change("u", 1, {"id": 1}, {"id": 1}, source_at=OLD)],
        {"hours_into_day_are_recent"},
    ),
    "heartbeats that arrive": (*GOOD["heartbeats"], set()),
    "no heartbeat at all": (GOOD["heartbeats"][0], [], {"hours_into_day_are_recent"}),
    "a day without a change of customers": (GOOD["customers changes"][0], [], set()),
    "no order today, and too many of each odd kind": (
        GOOD["orders"][0],
        [
            *numbered("silver.orders", "order_id", 4, _source_at=OLD, order_date=OLD.date(), customer_id=None),
            row("silver.orders", order_id=1, quantity=-1, amount=Decimal(0), _source_at=OLD, order_date=OLD.date()),
        ],
        {
            "hours_into_day_are_recent",
            "is_anonymous_share_is_usual",
            "is_return_share_is_usual",
            "is_free_share_is_usual",
        },
    ),
    "the wholesaler's lines are all large": (
        orders_suite.silver(ONLINE_RETAIL, TODAY),
        numbered("silver.orders", "order_id", quantity=101),
        {"is_wholesale_share_is_usual"},
    ),
    "no sales for a week": (
        GOOD["daily sales"][0],
        numbered("candidate.agg_daily_sales", "category", order_date=DAY - timedelta(days=7)),
        {"days_to_day_are_recent"},
    ),
    "an empty table": (GOOD["customers"][0], [], {"row_count_is_in_bounds"}),
}


@pytest.mark.parametrize("case", DEFECTS)
def test_each_defect_turns_exactly_its_check_red(case: str, validator: Validator, spark: SparkSession) -> None:
    suite, rows = GOOD[case]
    defects, expected = DEFECTS[case]
    results = check(validator, spark, suite, rows + defects)
    assert failed_rows(results) == expected
    assert did_run(results.values())


@pytest.mark.parametrize("case", WHOLE_TABLE)
def test_a_defect_of_the_whole_table_turns_exactly_its_checks_red(
    case: str, validator: Validator, spark: SparkSession
) -> None:
    suite, rows, expected = WHOLE_TABLE[case]
    results = check(validator, spark, suite, rows)
    assert set(failed_rows(results)) == expected
    assert did_run(results.values())


def test_the_business_day_begins_at_midnight_of_its_zone() -> None:
    summer = business_day(Settings(business_time_zone="Europe/London"), date(2026, 7, 1))
    assert summer.since == "since 2026-06-30 23:00 UTC"
    assert summer.date == date(2026, 7, 1)
