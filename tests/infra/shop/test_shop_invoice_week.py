"""The first week of the real data, read by the shop and by a few independent lines."""

from __future__ import annotations

import csv
import os
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from infra.shop.invoice_catalogue import InvoiceCatalogue
from infra.shop.invoices import InvoiceLine, read_invoices

SHARED = Path(os.environ.get("LAKEHOUSE_SHARED_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
FILE = SHARED / "online_retail" / "online_retail.csv"
pytestmark = pytest.mark.skipif(
    not FILE.is_file(),
    reason=f"the Online Retail file is not at {FILE}; set LAKEHOUSE_SHARED_DATA to its folder's parent",
)


@pytest.fixture(scope="module")
def lines() -> list[InvoiceLine]:
    return list(read_invoices(FILE))


def test_facts_that_the_loader_states_are_those_of_the_file(lines: list[InvoiceLine]) -> None:
    quantities = [line.quantity for line in lines]
    assert len(lines) == 14_594
    assert (min(quantities), max(quantities)) == (-9_360, 2_880)
    assert sum(not 1 <= quantity <= 100 for quantity in quantities) == 321
    assert sum(quantity < 0 for quantity in quantities) == 219
    assert sum(line.customer_id is None for line in lines) == 4_265
    assert sum(line.unit_price == 0 for line in lines) == 124
    assert sum(line.amount for line in lines) == Decimal("252979.77")


def test_amount_per_day_is_what_a_few_independent_lines_compute(lines: list[InvoiceLine]) -> None:
    expected: Counter[str] = Counter()
    with FILE.open(encoding="utf-8", newline="") as content:
        for row in csv.DictReader(content):
            exact = Decimal(row["Quantity"]) * Decimal(row["UnitPrice"])
            expected[row["InvoiceDate"].split()[0]] += exact.quantize(Decimal("0.01"), ROUND_HALF_UP)  # type: ignore[assignment]
    found: Counter[str] = Counter()
    for line in lines:
        found[f"{line.order_date:%m/%d/%y}".lstrip("0").replace("/0", "/")] += line.amount  # type: ignore[assignment]
    assert found == expected


def test_catalogue_of_the_week(lines: list[InvoiceLine]) -> None:
    catalogue = InvoiceCatalogue(ZoneInfo("Europe/London")).collect(lines)
    products = {product.product_id: product for product in catalogue.products()}
    fees = {code for code, product in products.items() if product.is_fee}
    assert len(products) == 2_246
    assert fees == {"POST", "D", "DOT", "M", "C2", "S", "BANK CHARGES", "AMAZONFEE"}
    assert len(catalogue.customers()) == len({line.customer_id for line in lines} - {None})
    categories = Counter(product.category for product in products.values())
    assert categories["Other gifts"] < len(products) / 2
