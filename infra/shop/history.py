"""The past: customers, products, two weeks of orders and stock movements, three days of clicks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from random import Random

from infra.shop.business_time import busy_times, day_bounds, iso_utc
from infra.shop.catalogue import CUSTOMER_COLUMNS, PRODUCT_COLUMNS, Product, make_customers, make_products, rows_of
from infra.shop.changes import Insert, Transaction
from infra.shop.clickstream import EVENTS_PER_SESSION, ObjectWriter, Visitors, by_hour, session
from infra.shop.errors import InvoiceFileWrong
from infra.shop.faults import CLICK_REASONS, INVENTORY_REASONS, Encode, FaultSchedule, Record, inventory_fault
from infra.shop.invoice_load import load_invoices
from infra.shop.opening import Shop
from infra.shop.order_book import OrderBook
from infra.shop.stock import Event, StockBook
from infra.shop.trading_day import past_day

DAYS = 14
CLICK_DAYS = 3
CUSTOMERS = 300
MOVEMENTS_PER_DAY = 1_280
CLICKS_PER_DAY = 4_500
BAD_SHARE = 0.02
STOCKED_PRODUCTS = 60
RECORDS_PER_BATCH = 1_000


def load_history(shop: Shop) -> None:
    """Bring the past up to the business date (or to now, where the date is today); what is there stays as it is."""
    if shop.orders_csv is not None:
        load_invoices(
            shop.orders_csv,
            shop.parts.database,
            shop.book,
            shop.zone,
            lambda done, total: shop.report("invoice lines", done, total),
        )
    else:
        load_orders(shop)
    load_stock(shop)
    load_clicks(shop)
    shop.book.write_summary()


def past_end(shop: Shop) -> datetime:
    """End of the business date, or now if that is earlier; UTC."""
    return min(day_bounds(shop.business_date, shop.zone)[1], shop.clock())


def next_ids(book: OrderBook) -> dict[str, int]:
    """First keys that were never given out."""
    return {"orders": book.next_order_id, "customers": book.next_customer_id}


def order_book(shop: Shop) -> OrderBook:
    """The present rows of Postgres. Raises `InvoiceFileWrong` in a home that replays an invoice file."""
    if any(tag.startswith("invoices:") for tag in shop.account.tags):
        raise InvoiceFileWrong(
            "This home holds the orders of an invoice file, which would mix with made-up ones. Give the file again "
            "(--orders-csv), run `lakehouse reset`, or choose another home with LAKEHOUSE_HOME."
        )
    return shop.parts.database.load_book(shop.account.next_ids)


def load_orders(shop: Shop) -> None:
    """Customers and products once, then each of the last 14 days that is not there yet as one transaction."""
    book = order_book(shop)
    if "catalogue" not in shop.account.tags:
        _load_catalogue(shop)
        book = order_book(shop)
    days = [shop.business_date - timedelta(days=back) for back in reversed(range(DAYS))]
    newest = max((tag for tag in shop.account.tags if tag.startswith("day:")), default="")
    for number, day in enumerate(days, start=1):
        if f"day:{day.isoformat()}" > newest:
            _load_day(shop, book, day)
        shop.report("days of orders", number, DAYS)


def _load_catalogue(shop: Shop) -> None:
    before = day_bounds(shop.business_date - timedelta(days=DAYS), shop.zone)[0]
    customers = make_customers(shop.seed, shop.sizes.of(CUSTOMERS, least=40), before)
    inserts = [
        Insert("customers", rows_of(customers, CUSTOMER_COLUMNS)),
        Insert("products", rows_of(make_products(shop.seed, before), PRODUCT_COLUMNS)),
    ]
    shop.parts.database.apply(Transaction([*inserts], tag="catalogue"), shop.book, {})


def _load_day(shop: Shop, book: OrderBook, day: date) -> None:
    rng = Random(f"{shop.seed}/{day.isoformat()}")
    count = round(shop.sizes.orders * shop.sizes.scale / DAYS)
    transaction = past_day(book, rng, day, past_end(shop), count, shop.zone)
    shop.parts.database.apply(transaction, shop.book, next_ids(book))


def stocked_products(shop: Shop) -> list[Product]:
    """Products with stock and clicks, best-selling first."""
    if shop.orders_csv is not None:
        return shop.parts.database.products_by_sales(STOCKED_PRODUCTS)
    return order_book(shop).goods()


def stock_book(shop: Shop) -> StockBook:
    """Levels after the newest acknowledged events."""
    skus = [product.product_id for product in stocked_products(shop)]
    return StockBook(skus, shop.account.levels, shop.account.reorder_point)


def begin_of(shop: Shop, source: str, days: int) -> datetime:
    """Where the past of a source begins: `days` before the business date's end, or where the last run ended."""
    begin = day_bounds(shop.business_date - timedelta(days=days - 1), shop.zone)[0]
    until = shop.account.until.get(source)
    return max(begin, datetime.fromisoformat(until)) if until else begin


def load_stock(shop: Shop) -> None:
    """Stock movements of the last 14 days, with their share of bad records."""
    begin, end = begin_of(shop, "inventory", DAYS), past_end(shop)
    if begin >= end:
        return
    rng = Random(shop.seed_for("stock"))
    count = shop.sizes.of(MOVEMENTS_PER_DAY * ((end - begin) / timedelta(days=1)), least=0)
    movements = list(_movements(shop, rng, begin, end, count))
    faults = FaultSchedule(INVENTORY_REASONS, BAD_SHARE, each_at_least_once=not shop.account.inventory.bad)
    encode = shop.parts.events.inventory_encoder()
    for first in range(0, len(movements), RECORDS_PER_BATCH):
        send_stock(shop, rng, movements[first : first + RECORDS_PER_BATCH], faults, encode)
        shop.report("stock movements", min(first + RECORDS_PER_BATCH, len(movements)), len(movements))


def _movements(shop: Shop, rng: Random, begin: datetime, end: datetime, count: int) -> Iterator[Event]:
    book = stock_book(shop)
    yield from book.count_new(rng, begin)
    for at in busy_times(rng, begin, end, count, shop.zone):
        yield from book.trade(rng, at)


def send_stock(shop: Shop, rng: Random, movements: Sequence[Event], faults: FaultSchedule, encode: Encode) -> None:
    """Send good events and the bad ones that are due as one batch."""
    if movements:
        until = ["inventory", iso_utc(movements[-1]["occurred_at"])]
        records = stock_records(rng, movements, faults, encode)
        shop.parts.events.send(shop.settings.inventory_topic, records, "inventory", shop.book, until=until)


def stock_records(rng: Random, movements: Sequence[Event], faults: FaultSchedule, encode: Encode) -> list[Record]:
    """Records of good events in their order, with bad ones in between."""
    places: dict[int, list[str]] = {}
    for reason in faults.take(len(movements)):
        places.setdefault(rng.randrange(len(movements)), []).append(reason)
    records = []
    for index, event in enumerate(movements):
        pair = [event["sku"], event["warehouse_id"]]
        note = ["good", event["event_id"], *pair, event["sequence"], event["on_hand"]]
        records.append(Record(event["sku"].encode(), encode(event), note))
        records += [inventory_fault(rng, reason, event, encode) for reason in places.get(index, ())]
    return records


def visitors(shop: Shop) -> Visitors:
    """Known customers and the products that they look at."""
    return Visitors(shop.parts.database.keys("customers", 2_000), stocked_products(shop))


def load_clicks(shop: Shop) -> None:
    """Clicks of the last three days as one object for each hour."""
    begin, end = begin_of(shop, "clicks", CLICK_DAYS), past_end(shop)
    if begin >= end:
        return
    rng, people = Random(shop.seed_for("clicks")), visitors(shop)
    count = shop.sizes.of(CLICKS_PER_DAY * ((end - begin) / timedelta(days=1)) / EVENTS_PER_SESSION, least=0)
    visits = [session(rng, people, at, end) for at in busy_times(rng, begin, end, count, shop.zone)]
    faults = FaultSchedule(CLICK_REASONS, BAD_SHARE, each_at_least_once=not shop.account.clicks.bad)
    writer = ObjectWriter(rng, shop.settings.landing_prefix, faults, shop.account.last_object)
    hours = list(by_hour(event for visit in visits for event in visit))
    for number, (at, events) in enumerate(hours, start=1):
        shop.parts.landing.put(writer.write(events, at), shop.book)
        shop.report("click objects", number, len(hours))
