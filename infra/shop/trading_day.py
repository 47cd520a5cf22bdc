"""A day of the past as one transaction, and a moment of the present as a few small ones."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from infra.shop.business_time import at_hour, busy_times, day_bounds, weekday_factor
from infra.shop.catalogue import make_customer
from infra.shop.changes import Change, Transaction
from infra.shop.order_book import POSTAGE, Order, OrderBook, insert_orders

_STEPS = (("shipped", "delivered", 0.75, 9), ("processing", "shipped", 0.85, 11), ("pending", "processing", 0.9, 8))
"""From, to, share of a day, hour; latest step first, so that an order takes one step a day."""


def past_day(book: OrderBook, rng: Random, day: date, until: datetime, count: int, zone: ZoneInfo) -> Transaction:
    """Everything of one business day up to the UTC time `until`: about `count` order rows on a full average day."""
    begin, end = day_bounds(day, zone)
    end = min(end, until)

    def clock(hour: int) -> datetime:
        return min(max(at_hour(day, hour, rng.randrange(60), zone), begin), end)

    changes: list[Change] = []
    for before, after, share, hour in _STEPS:
        ready = [order for order in book.orders.values() if order.status == before and rng.random() < share]
        changes += book.advance(ready, after, clock(hour))
    changes += _second_thoughts(book, rng, day, clock(14))
    changes += _people_and_prices(book, rng, day, clock(16))
    share = (end - begin) / timedelta(days=1)
    # A purchase has 1.27 rows on average: sometimes a second product, sometimes postage.
    purchases = round(count * weekday_factor(day) * share / 1.27)
    placed = [order for at in busy_times(rng, begin, end, purchases, zone) for order in book.place(rng, day, at)]
    if placed:
        changes.append(insert_orders(placed))
        hurried = [order for order in placed if rng.random() < 0.1]
        changes += book.advance(hurried, "processing", end)
    return Transaction(changes, tag=f"day:{day.isoformat()}")


def _second_thoughts(book: OrderBook, rng: Random, day: date, at: datetime) -> list[Change]:
    """Cancellations, changed quantities, returns and removed orders of earlier days."""
    changes: list[Change] = []
    open_orders = [
        order for order in book.orders.values() if order.status in ("pending", "processing") and order.quantity > 0
    ]
    changes += book.advance([order for order in open_orders if rng.random() < 0.06], "cancelled", at)
    for order in open_orders:
        if order.status != "cancelled" and order.product_id != POSTAGE and rng.random() < 0.03:
            changes += book.edit_quantity(rng, order, at)
    for order in _returnable(book, day):
        if rng.random() < 0.006:
            changes += book.take_back(rng, order, day, at)
    removed = [
        order for order in book.orders.values() if order.status in ("cancelled", "pending") and rng.random() < 0.03
    ]
    return changes + book.remove_orders(removed)


def _returnable(book: OrderBook, day: date) -> list[Order]:
    long_ago = day - timedelta(days=2)
    return [
        order
        for order in book.orders.values()
        if order.status == "delivered"
        and order.quantity > 0
        and order.product_id != POSTAGE
        and order.order_date <= long_ago
    ]


def _people_and_prices(book: OrderBook, rng: Random, day: date, at: datetime) -> list[Change]:
    changes: list[Change] = []
    for customer in list(book.customers.values()):
        if rng.random() < 0.01:
            changes += book.edit_customer(rng, customer, at)
    for product in rng.sample(book.goods(), 2):
        changes += book.reprice(rng, product, at)
    for _ in range(2):
        changes += book.add_customer(make_customer(rng, book.next_customer_id, at))
    if day.toordinal() % 4 == 0:
        changes += forget_someone(book, rng, with_orders=True) + forget_someone(book, rng, with_orders=False)
    return changes


def forget_someone(book: OrderBook, rng: Random, with_orders: bool) -> list[Change]:
    """Delete a customer who has orders, or one who has none; nothing when there is nobody to choose."""
    buyers = {order.customer_id for order in book.orders.values()}
    chosen = [customer_id for customer_id in book.customers if (customer_id in buyers) == with_orders]
    return book.remove_customer(rng.choice(chosen)) if chosen and len(book.customers) > 20 else []


def present_moment(
    book: OrderBook, rng: Random, day: date, at: datetime, purchases: int, tick: int, change_key: bool
) -> list[Transaction]:
    """The transactions of one live tick at the UTC time `at`; `change_key` gives one customer another number."""
    transactions = [Transaction(_purchase(book, rng, day, at, newcomer=rng.random() < 0.1)) for _ in range(purchases)]
    transactions.append(Transaction(_carrier_pickup(book, rng, at)))
    transactions.append(Transaction(_service_desk(book, rng, day, at)))
    if tick % 4 == 1:
        transactions.append(Transaction(_campaign(book, rng, at)))
    if tick % 7 == 3:
        transactions.append(Transaction(forget_someone(book, rng, with_orders=True)))
        transactions.append(Transaction(forget_someone(book, rng, with_orders=False)))
    if change_key:
        transactions.append(Transaction(_new_number(book, rng, at), tag="customer_key_change"))
    return [transaction for transaction in transactions if transaction.changes]


def _purchase(book: OrderBook, rng: Random, day: date, at: datetime, newcomer: bool) -> list[Change]:
    changes: list[Change] = []
    if newcomer:
        changes += book.add_customer(make_customer(rng, book.next_customer_id, at))
    return [*changes, insert_orders(book.place(rng, day, at))]


def _carrier_pickup(book: OrderBook, rng: Random, at: datetime) -> list[Change]:
    changes: list[Change] = []
    for before, after, _, _ in _STEPS:
        ready = [order for order in book.orders.values() if order.status == before]
        changes += book.advance(rng.sample(ready, min(len(ready), 4)), after, at)
    return changes


def _service_desk(book: OrderBook, rng: Random, day: date, at: datetime) -> list[Change]:
    """One caller: a changed quantity, a cancellation, a wrong order removed, a return, a new address."""
    changes: list[Change] = []
    if book.customers:
        changes += book.edit_customer(rng, rng.choice(list(book.customers.values())), at)
    open_orders = [order for order in book.orders.values() if order.status == "pending" and order.product_id != POSTAGE]
    returnable = _returnable(book, day)
    if len(open_orders) > 4:
        edited, cancelled, removed = rng.sample(open_orders, 3)
        changes += book.edit_quantity(rng, edited, at) + book.advance([cancelled], "cancelled", at)
        changes += book.remove_orders([removed]) if rng.random() < 0.5 else []
    if returnable and rng.random() < 0.5:
        changes += book.take_back(rng, rng.choice(returnable), day, at)
    return changes


def _campaign(book: OrderBook, rng: Random, at: datetime) -> list[Change]:
    return [change for product in rng.sample(book.goods(), 2) for change in book.reprice(rng, product, at)]


def _new_number(book: OrderBook, rng: Random, at: datetime) -> list[Change]:
    buyers = sorted(book.customers.keys() & {order.customer_id for order in book.orders.values()})
    return book.change_customer_key(rng.choice(buyers), at) if buyers else []
