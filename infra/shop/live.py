"""The present: purchases, clicks and stock as they happen, products that run low, and bad records of every kind."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from infra.shop.clickstream import ObjectWriter, Visitors, session
from infra.shop.faults import (
    CHANGE_REASONS,
    CLICK_REASONS,
    INVENTORY_REASONS,
    Encode,
    FaultSchedule,
    Record,
    change_fault,
)
from infra.shop.history import BAD_SHARE, next_ids, order_book, send_stock, stock_book, visitors
from infra.shop.opening import Shop
from infra.shop.order_book import OrderBook
from infra.shop.stock import Pair, StockBook, live_stock, low_stock_plan
from infra.shop.trading_day import present_moment

MOVEMENTS_PER_TICK = 70
SESSIONS_PER_TICK = 16
LIVE_ORDERS = 0.04
"""Order rows of live trade, as a share of those of the history."""
BAD_CHANGES_OF_EACH_REASON = 3
CHANGE_WAIT_SECONDS = 90.0


@dataclass(slots=True)
class _Trade:
    """What live trade carries from tick to tick."""

    rng: Random
    orders: OrderBook | None
    stock: StockBook
    low: dict[int, list[tuple[str, Pair]]]
    stock_faults: FaultSchedule
    encode: Encode
    people: Visitors
    writer: ObjectWriter


def trade_live(shop: Shop, ticks: int | None = None, seconds: float = 0.0) -> None:
    """Trade for some ticks (default: as the sizes say), spread over `seconds`; then spoil the change topic.

    With an invoice file Postgres stays as the file tells it: only clicks, stock and bad records go on.
    """
    count = ticks if ticks is not None else shop.sizes.ticks
    trade = _open_trade(shop, count)
    begin = time.monotonic()
    for tick in range(count):
        _trade_once(shop, trade, tick, count)
        shop.book.write_summary()
        shop.report("moments of live trade", tick + 1, count)
        time.sleep(max(begin + seconds * (tick + 1) / count - time.monotonic(), 0.0))
    spoil_changes(shop)
    shop.book.write_summary()


def _open_trade(shop: Shop, ticks: int) -> _Trade:
    rng = Random(shop.seed_for("live"))
    stock = stock_book(shop)
    clicks = FaultSchedule(CLICK_REASONS, BAD_SHARE, shop.account.run)
    return _Trade(
        rng=rng,
        orders=order_book(shop) if shop.orders_csv is None else None,
        stock=stock,
        low=low_stock_plan(rng, stock, ticks),
        stock_faults=FaultSchedule(INVENTORY_REASONS, BAD_SHARE, shop.account.run),
        encode=shop.parts.events.inventory_encoder(),
        people=visitors(shop),
        writer=ObjectWriter(rng, shop.settings.landing_prefix, clicks, shop.account.last_object),
    )


def _trade_once(shop: Shop, trade: _Trade, tick: int, ticks: int) -> None:
    if trade.orders is not None:
        _trade_orders(shop, trade, trade.orders, tick, ticks)
    at = shop.clock()
    movements = live_stock(trade.rng, trade.stock, trade.low.get(tick, ()), shop.sizes.of(MOVEMENTS_PER_TICK), at)
    send_stock(shop, trade.rng, movements, trade.stock_faults, trade.encode)
    _write_clicks(shop, trade, shop.clock())


def _trade_orders(shop: Shop, trade: _Trade, orders: OrderBook, tick: int, ticks: int) -> None:
    purchases = shop.sizes.of(shop.sizes.orders * LIVE_ORDERS / ticks / 1.27)
    change_key = tick == ticks // 2 and "customer_key_change" not in shop.account.tags
    for transaction in present_moment(orders, trade.rng, shop.business_date, shop.clock(), purchases, tick, change_key):
        shop.parts.database.apply(transaction, shop.book, next_ids(orders))


def _write_clicks(shop: Shop, trade: _Trade, at: datetime) -> None:
    """Visits that began during the last minutes; what has not happened yet is not in the object."""
    begins = [at - timedelta(seconds=trade.rng.uniform(1, 240)) for _ in range(shop.sizes.of(SESSIONS_PER_TICK))]
    visits = [session(trade.rng, trade.people, begin, at) for begin in begins]
    events = [event for visit in visits for event in visit]
    shop.parts.landing.put(trade.writer.write(sorted(events, key=lambda event: event["_at"]), at), shop.book)


def spoil_changes(shop: Shop) -> None:
    """Put a few records of each bad kind on the change topic of the orders, made of a real change."""
    topic = f"{shop.settings.source_topic_prefix}.public.orders"
    key, value = shop.parts.events.reader.a_real_change(topic, CHANGE_WAIT_SECONDS)
    rng = Random(shop.seed_for("changes"))
    records: list[Record] = []
    for reason in CHANGE_REASONS * BAD_CHANGES_OF_EACH_REASON:
        records.append(change_fault(rng, reason, key, value))
    shop.parts.events.send(topic, records, "changes", shop.book)
