from __future__ import annotations

import zlib
from collections import Counter
from copy import deepcopy
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from infra.shop.catalogue import CUSTOMER_COLUMNS, PRODUCT_COLUMNS, make_customers, make_products, rows_of
from infra.shop.changes import COLUMNS, KEYS, ChangeKey, Delete, Insert, Transaction, Update
from infra.shop.order_book import Order, OrderBook
from infra.shop.trading_day import past_day, present_moment

LONDON = ZoneInfo("Europe/London")
STATUSES = {"pending", "processing", "shipped", "delivered", "cancelled"}
Tables = dict[str, dict[Any, dict[str, Any]]]


def new_book(noon: datetime, seed: int = 7) -> OrderBook:
    before = noon - timedelta(days=14)
    customers = {one.customer_id: one for one in make_customers(seed, 200, before)}
    products = {one.product_id: one for one in make_products(seed, before)}
    return OrderBook(customers, products, {}, next_order_id=1, next_customer_id=5_000)


def two_weeks(book: OrderBook, noon: datetime, seed: int = 7) -> list[Transaction]:
    days = [noon.date() - timedelta(days=back) for back in reversed(range(14))]
    past = [past_day(book, Random(f"{seed}/{day}"), day, noon, 200, LONDON) for day in days]
    for tick in range(20):
        past += present_moment(book, Random(f"{seed}/{tick}"), noon.date(), noon, 8, tick, change_key=tick == 10)
    return past


@pytest.fixture(scope="module")
def traded() -> tuple[OrderBook, list[Transaction], Tables]:
    noon = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    book = new_book(noon)
    tables: Tables = {"customers": {}, "products": {}, "orders": {}}
    for table, rows in (
        ("customers", rows_of(list(book.customers.values()), CUSTOMER_COLUMNS)),
        ("products", rows_of(list(book.products.values()), PRODUCT_COLUMNS)),
    ):
        replay(tables, Transaction([Insert(table, rows)]))
    transactions = two_weeks(book, noon)
    for transaction in transactions:
        replay(tables, transaction)
    return book, transactions, tables


def replay(tables: Tables, transaction: Transaction) -> None:
    """What a database does, in a few lines; a missing or a second key is an error."""
    for change in transaction.changes:
        rows = tables[change.table]
        match change:
            case Insert():
                for values in change.rows:
                    row = dict(zip(COLUMNS[change.table], values, strict=True))
                    assert row[KEYS[change.table]] not in rows
                    rows[row[KEYS[change.table]]] = row
            case Update():
                assert len(set(change.keys)) == len(change.keys)
                for key in change.keys:
                    rows[key].update(change.values)
            case Delete():
                for key in change.keys:
                    del rows[key]
            case ChangeKey():
                assert change.new not in rows
                rows[change.new] = rows.pop(change.old) | {KEYS[change.table]: change.new}


def test_statements_lead_to_the_rows_of_the_book(traded: tuple[OrderBook, list[Transaction], Tables]) -> None:
    book, _, tables = traded
    for name, present in (("orders", book.orders), ("customers", book.customers), ("products", book.products)):
        expected = {key: {column: getattr(row, column) for column in COLUMNS[name]} for key, row in present.items()}
        assert tables[name] == expected


def test_every_kind_of_change_happens(traded: tuple[OrderBook, list[Transaction], Tables]) -> None:
    counts: dict[str, Counter[str]] = {}
    for transaction in traded[1]:
        for table, rows in transaction.counts().items():
            counts.setdefault(table, Counter()).update(rows)
    assert set(counts["orders"]) == {"insert", "update", "delete"}
    assert set(counts["customers"]) == {"insert", "update", "delete", "key_change"}
    assert set(counts["products"]) == {"update"}
    assert counts["customers"]["key_change"] == 1
    assert counts["customers"]["delete"] >= 4


def test_transactions_hold_several_statements(traded: tuple[OrderBook, list[Transaction], Tables]) -> None:
    assert sum(len(transaction.changes) > 1 for transaction in traded[1]) > 30


def test_some_orders_are_returns_some_anonymous_some_postage_and_all_statuses_occur(
    traded: tuple[OrderBook, list[Transaction], Tables],
) -> None:
    orders = list(traded[0].orders.values())
    assert {order.status for order in orders} == STATUSES
    assert any(order.quantity < 0 for order in orders)
    assert any(order.customer_id is None for order in orders)
    assert any(order.product_id == "POST" for order in orders)


def test_amounts_have_two_places_and_the_sign_of_the_quantity(
    traded: tuple[OrderBook, list[Transaction], Tables],
) -> None:
    for order in traded[0].orders.values():
        assert order.amount == order.amount.quantize(Decimal("0.01"))
        assert (order.amount < 0) == (order.quantity < 0)
        assert -100 <= order.quantity <= 100
        assert order.quantity != 0


def test_some_deleted_customers_have_orders_and_some_have_none(
    traded: tuple[OrderBook, list[Transaction], Tables],
) -> None:
    book, transactions, _ = traded
    changes = [change for transaction in transactions for change in transaction.changes]
    deleted = {
        key for change in changes if isinstance(change, Delete) and change.table == "customers" for key in change.keys
    }
    buyers = {order.customer_id for order in book.orders.values()}
    assert deleted & buyers
    assert deleted - buyers


def test_customer_with_a_new_number_keeps_the_orders(traded: tuple[OrderBook, list[Transaction], Tables]) -> None:
    book, transactions, _ = traded
    [rekey] = [change for one in transactions for change in one.changes if isinstance(change, ChangeKey)]
    assert rekey.old not in {order.customer_id for order in book.orders.values()}


def test_number_of_rows_is_near_what_was_asked_for(traded: tuple[OrderBook, list[Transaction], Tables]) -> None:
    days = [one for one in traded[1] if one.tag and one.tag.startswith("day:")]
    rows = sum(one.counts()["orders"]["insert"] for one in days[:13])
    assert abs(rows / (13 * 200) - 1) < 0.1


def test_same_seed_gives_the_same_transactions(noon: datetime) -> None:
    assert two_weeks(new_book(noon), noon) == two_weeks(new_book(noon), noon)
    assert two_weeks(new_book(noon), noon) != two_weeks(new_book(noon, 8), noon, 8)


def test_nothing_of_today_is_later_than_now(noon: datetime) -> None:
    book = new_book(noon)
    past_day(book, Random(1), noon.date(), noon, 200, LONDON)
    assert book.orders
    assert max(order.updated_at for order in book.orders.values()) <= noon
    assert {order.order_date for order in book.orders.values()} == {date(2026, 11, 23)}


def test_price_never_falls_near_the_cost(noon: datetime) -> None:
    book, rng = new_book(noon), Random(2)
    for _ in range(200):
        for product in book.goods():
            book.reprice(rng, product, noon)
    assert all(one.unit_price >= one.unit_cost * Decimal("1.19") for one in book.goods() if one.unit_cost)


def test_return_takes_back_its_share_of_the_amount(noon: datetime) -> None:
    book = new_book(noon)
    order = Order(7, None, "KIT-001", noon.date(), 3, Decimal("10.00"), "delivered", noon)
    book.orders[7] = deepcopy(order)
    [insert] = book.take_back(Random(3), book.orders[7], noon.date(), noon)
    assert isinstance(insert, Insert)
    [(_, _, _, _, quantity, amount, _, _)] = insert.rows
    assert -3 <= quantity < 0
    assert amount == {-1: Decimal("-3.33"), -2: Decimal("-6.67"), -3: Decimal("-10.00")}[quantity]


def test_descriptions_stay_large_when_compressed(noon: datetime) -> None:
    """Postgres compresses less well than zlib, and moves a value out of its row only above 2 kB."""
    for product in make_products(7, noon):
        if not product.is_fee:
            assert len(zlib.compress((product.description or "").encode(), 9)) > 2_048
