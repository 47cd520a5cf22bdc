"""Invoice files from Bronze changes to daily sales: revenue per day is what independent lines compute."""

from __future__ import annotations

import csv
from datetime import date
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from invoice_files import INVOICE_FILES, OWN, REAL, SCENARIO
from pyspark.sql import SparkSession
from table_rows import change, forget_catalog, frame

from batch import captured_tables, gold
from batch.marts import candidate
from infra.demo.checks import revenue_of_file
from infra.shop.catalogue import CUSTOMER_COLUMNS, PRODUCT_COLUMNS, rows_of
from infra.shop.invoice_catalogue import InvoiceCatalogue, is_fee
from infra.shop.invoice_load import order_rows
from infra.shop.invoices import InvoiceLine, read_invoices
from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import CUSTOMERS, INVENTORY_LEVELS, ORDERS, PRODUCTS, SESSIONS, CapturedTable

pytestmark = pytest.mark.slow
LONDON = ZoneInfo("Europe/London")


@pytest.fixture(scope="module", params=INVOICE_FILES)
def invoice_slice(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own lines, or of the real ones every tenth, and every return and fee, saved as a spreadsheet saves them: with
    a byte order mark.
    """
    file: Path = request.param
    every = 10 if file == REAL else 1
    header, *lines = file.read_text("utf-8-sig").splitlines()
    chosen = [
        text
        for text, line in zip(lines, read_invoices(file), strict=True)
        if line.number % every == 0 or line.quantity < 0 or is_fee(line.stock_code)
    ]
    path = tmp_path_factory.mktemp("invoices") / "slice.csv"
    path.write_text("\n".join([header, *chosen, ""]), "utf-8-sig")
    return path


def bronze(spark: SparkSession, settings: Settings, table: CapturedTable, columns: tuple[str, ...], rows: list) -> None:  # type: ignore[type-arg]
    images = [dict(zip(columns, one, strict=True)) for one in rows]
    changes = [
        change("c", number, {key: image[key] for key in table.keys}, image) for number, image in enumerate(images)
    ]
    delta_io.append(frame(spark, table.changes.schema, changes).coalesce(1), table.changes, settings)


def test_the_independent_lines_compute_what_was_added_up_by_hand() -> None:
    with (SCENARIO / "expected" / "revenue_per_day.csv").open(encoding="utf-8", newline="") as lines:
        by_hand = {date.fromisoformat(row["order_date"]): Decimal(row["revenue"]) for row in csv.DictReader(lines)}
    assert revenue_of_file(OWN) == by_hand


def test_revenue_per_day_equals_the_file_to_the_cent(spark: SparkSession, tmp_path: Path, invoice_slice: Path) -> None:
    settings = Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]
    lines: list[InvoiceLine] = list(read_invoices(invoice_slice))
    catalogue = InvoiceCatalogue(LONDON).collect(lines)
    bronze(spark, settings, ORDERS, ORDERS.columns.names, list(order_rows(lines, LONDON)))
    bronze(spark, settings, CUSTOMERS, CUSTOMER_COLUMNS, rows_of(catalogue.customers(), CUSTOMER_COLUMNS))
    bronze(spark, settings, PRODUCTS, PRODUCT_COLUMNS, rows_of(catalogue.products(), PRODUCT_COLUMNS))
    for table in (ORDERS, CUSTOMERS, PRODUCTS):
        captured_tables.run(spark, settings, table)
    for spec in (INVENTORY_LEVELS, SESSIONS):
        delta_io.ensure(spark, spec, settings)

    # Tests before this one had other tables by these names.
    forget_catalog(spark)
    gold.register_sources(spark, settings)
    arguments = {"business_date": str(max(line.order_date for line in lines)), "warehouse": settings.warehouse}
    results = gold.run(settings, ["run", "--select", "+agg_daily_sales"], arguments, None)
    assert {one.node.name: one.message for one in results if str(one.status) != "success"} == {}

    sales = delta_io.read(spark, candidate("agg_daily_sales"), settings)
    found = {row[0]: row[1] for row in sales.groupBy("order_date").agg({"revenue": "sum"}).collect()}
    assert found == revenue_of_file(invoice_slice)
    # The real shop is closed on Saturday; ours charged only fees on one of its days.
    assert len(found) == len({line.order_date for line in lines if not is_fee(line.stock_code)}) >= 5
    # The slice is not a plain one: fees would add, and returns do take away.
    assert sum(line.amount for line in lines if is_fee(line.stock_code)) > 0
    assert sum((line.amount for line in lines if line.quantity < 0), Decimal(0)) < 0
