"""The limits of invoice files on two of them: what is modelled passes, and the same lines fail a plain shop."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from invoice_files import INVOICE_FILES, OWN, REAL
from pyspark.sql import DataFrame, SparkSession
from table_rows import AT, DAY, frame

from lakehouse.settings import Settings
from lakehouse.tables import ORDERS
from quality import orders_suite
from quality.business_day import business_day
from quality.limits import ONLINE_RETAIL, SHOP, Limits, limits_of
from quality.validation import Validator

pytestmark = pytest.mark.slow

OWN_LIMITS: dict[Path, dict[str, int | str]] = {
    # Few lines, of which many are odd; the bad debt is a sale with a negative amount.
    OWN: {
        "sale_amount_is_in_bounds": 1,
        "is_return_share_is_usual": "0.2258",
        "is_free_share_is_usual": "0.0645",
        "is_wholesale_share_is_usual": "0.125",
    },
    REAL: {},
}
SHOP_LIMITS: dict[Path, dict[str, int | str]] = {
    OWN: {
        "sale_quantity_is_in_bounds": 3,
        "return_quantity_is_in_bounds": 1,
        "sale_amount_is_in_bounds": 1,
        "is_anonymous_share_is_usual": "0.3226",
        "is_return_share_is_usual": "0.2258",
        "is_free_share_is_usual": "0.0645",
    },
    REAL: {
        "sale_quantity_is_in_bounds": 102,
        "return_quantity_is_in_bounds": 10,
        "is_anonymous_share_is_usual": "0.2922",
    },
}
"""The checks that a file fails, with the rows outside of the bounds, or the share that was found."""


def order_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Each line as an order, by the rules of the README."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        for number, line in enumerate(csv.DictReader(lines), start=1):
            month, day, year = map(int, line["InvoiceDate"].split()[0].split("/"))
            amount = int(line["Quantity"]) * Decimal(line["UnitPrice"])
            yield {
                "order_id": number,
                "customer_id": int(line["CustomerID"]) if line["CustomerID"] else None,
                "product_id": line["StockCode"],
                "order_date": date(2000 + year, month, day),
                "quantity": int(line["Quantity"]),
                "amount": amount.quantize(Decimal("0.01"), ROUND_HALF_UP),
                "status": "delivered",
                "updated_at": AT,
                "_source_at": AT,
            }


@pytest.fixture(scope="module", params=INVOICE_FILES)
def invoices(request: pytest.FixtureRequest) -> Path:
    file: Path = request.param
    return file


@pytest.fixture(scope="module")
def orders(spark: SparkSession, invoices: Path) -> DataFrame:
    return frame(spark, ORDERS.silver.schema, list(order_rows(invoices))).cache()


def failed(orders: DataFrame, limits: Limits) -> dict[str, int | str]:
    results = Validator().validate(orders_suite.silver(limits, business_day(Settings(), DAY)), orders)
    return {
        one.check.name: one.observed if one.rows_failed is None else one.rows_failed
        for one in results
        if not one.is_success
    }


def test_the_limits_of_invoices_pass_the_real_week_and_see_the_odd_lines_of_a_small_file(
    orders: DataFrame, invoices: Path
) -> None:
    assert failed(orders, ONLINE_RETAIL) == OWN_LIMITS[invoices]


def test_the_limits_of_an_ordinary_shop_find_exactly_the_odd_lines(orders: DataFrame, invoices: Path) -> None:
    assert failed(orders, SHOP) == SHOP_LIMITS[invoices]


def test_settings_choose_the_limits_by_name() -> None:
    assert limits_of(Settings(quality_limits="online_retail")) is ONLINE_RETAIL
    assert limits_of(Settings(quality_limits="shop")) is SHOP
