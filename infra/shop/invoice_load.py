"""Puts an invoice file into Postgres as customers, products and orders; goes on where an interrupted load stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from infra.shop.bookkeeping import AccountBook
from infra.shop.catalogue import CUSTOMER_COLUMNS, PRODUCT_COLUMNS, rows_of
from infra.shop.changes import Insert, Transaction
from infra.shop.database import ShopDatabase
from infra.shop.errors import InvoiceFileWrong
from infra.shop.invoice_catalogue import InvoiceCatalogue
from infra.shop.invoices import InvoiceLine, file_digest, in_zone, read_invoices

LINES_PER_TRANSACTION = 5_000
_TAG = "invoices"
STATUS = "delivered"


def load_invoices(
    path: Path, database: ShopDatabase, book: AccountBook, zone: ZoneInfo, progress: Callable[[int, int], None]
) -> int:
    """Load the whole file; returns its number of lines.

    The file is read to its end before anything is written, so that a malformed line leaves nothing half loaded. Then
    customers and products come through in one transaction, the lines in one for each 5,000. What an interrupted load
    has done is not done again. Raises `InvoiceFileWrong` and its kinds, also when this home holds other orders already.
    """
    digest = file_digest(path)[:16]
    _refuse_other_orders(path, digest, book)
    catalogue = InvoiceCatalogue(zone).collect(read_invoices(path))
    progress(0, catalogue.lines)
    if f"{_TAG}:{digest}:catalogue" not in book.account.tags:
        inserts = [
            Insert("customers", rows_of(catalogue.customers(), CUSTOMER_COLUMNS)),
            Insert("products", rows_of(catalogue.products(), PRODUCT_COLUMNS)),
        ]
        database.apply(Transaction([*inserts], tag=f"{_TAG}:{digest}:catalogue"), book, {})
    lines = read_invoices(path)
    begin = 0
    while batch := list(islice(lines, LINES_PER_TRANSACTION)):
        tag = f"{_TAG}:{digest}:{begin}"
        if tag not in book.account.tags:
            database.apply(Transaction([Insert("orders", list(order_rows(batch, zone)))], tag=tag), book, {})
        begin += len(batch)
        progress(begin, catalogue.lines)
    return catalogue.lines


def order_rows(lines: list[InvoiceLine], zone: ZoneInfo) -> Iterator[tuple[object, ...]]:
    """One order row for each line: its number is the key."""
    for line in lines:
        moment = in_zone(line.invoiced, zone)
        yield (
            line.number, line.customer_id, line.stock_code, line.order_date, line.quantity, line.amount, STATUS, moment,
        )  # fmt: skip


def _refuse_other_orders(path: Path, digest: str, book: AccountBook) -> None:
    others = [
        tag
        for tag in book.account.tags
        if not tag.startswith(f"{_TAG}:{digest}:") and tag.startswith((_TAG, "catalogue", "day:"))
    ]
    if others:
        raise InvoiceFileWrong(
            f"This home already holds other orders than those of {path}: a second set would mix with the first. "
            "Run `lakehouse reset`, or choose another home with LAKEHOUSE_HOME."
        )
