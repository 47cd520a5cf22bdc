"""The limits of the invoice file on the real file: what is modelled passes, and the same lines fail a plain shop."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED_DATA
from pyspark.sql import DataFrame, SparkSession
from table_rows import AT, DAY, frame

from lakehouse.settings import Settings
from lakehouse.tables import ORDERS
from quality import orders_suite
from quality.business_day import business_day
from quality.limits import ONLINE_RETAIL, SHOP, Limits, limits_of
from quality.validation import Validator

pytestmark = pytest.mark.slow
INVOICES = SHARED_DATA / "online_retail" / "online_retail.csv"


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


@pytest.fixture(scope="module")
def orders(spark: SparkSession) -> DataFrame:
    if not INVOICES.is_file():
        pytest.skip(f"the invoice file is not at {INVOICES}: set LAKEHOUSE_SHARED_DATA to the folder of shared data")
    return frame(spark, ORDERS.silver.schema, list(order_rows(INVOICES))).cache()


def failed(orders: DataFrame, limits: Limits) -> dict[str, tuple[int | None, str]]:
    results = Validator().validate(orders_suite.silver(limits, business_day(Settings(), DAY)), orders)
    return {one.check.name: (one.rows_failed, one.observed) for one in results if not one.is_success}


def test_the_invoice_file_passes_its_own_limits(orders: DataFrame) -> None:
    assert failed(orders, ONLINE_RETAIL) == {}


def test_the_invoice_file_fails_the_limits_of_an_ordinary_shop_by_exactly_its_odd_lines(orders: DataFrame) -> None:
    found = failed(orders, SHOP)
    assert set(found) == {
        "sale_quantity_is_in_bounds",
        "return_quantity_is_in_bounds",
        "is_anonymous_share_is_usual",
    }
    assert found["sale_quantity_is_in_bounds"][0] == 102
    assert found["is_anonymous_share_is_usual"][1] == "0.2922"


def test_settings_choose_the_limits_by_name() -> None:
    assert limits_of(Settings(quality_limits="online_retail")) is ONLINE_RETAIL
    assert limits_of(Settings(quality_limits="shop")) is SHOP
