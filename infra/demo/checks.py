"""What must be true at the end of a demo. Read by an independent engine (DuckDB on the Delta logs), compared with
the shop's account.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import psycopg

from infra.demo import alerts
from infra.shop.account import Account
from lakehouse import direct_read
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_LEVELS, SILVER_CAPTURED, STREAMS, CapturedTable
from streaming.inspection import alerts_raised, quarantine_counts


@dataclass(frozen=True)
class Check:
    """One comparison: what was expected (and who says so), what was found."""

    name: str
    expected: Any
    found: Any

    @property
    def holds(self) -> bool:
        """Whether the two are equal."""
        return bool(self.expected == self.found)

    @property
    def summary(self) -> str:
        """The common value, or both values side by side; long ones by their size."""
        return _brief(self.found) if self.holds else f"expected {_brief(self.expected)}, found {_brief(self.found)}"


def _brief(value: Any) -> str:
    if isinstance(value, Counter):
        return f"{value.total()} in all"
    if value and isinstance(value, dict) and all(isinstance(day, date) for day in value):
        return f"{len(value)} days, {sum(value.values()):,}"
    text = str(value) if value or isinstance(value, int) else "none"
    return text if len(text) < 160 else f"{text[:160]}..."


def all_checks(settings: Settings, account: Account, orders_csv: Path | None) -> Iterator[Check]:
    """Every comparison of the demo, in the order of the data's way."""
    yield Check("shop: nothing begun without an outcome", 0, len(account.unsettled))
    yield from _bronze(settings, account)
    yield from _quarantine(settings, account)
    for stream in STREAMS:
        balanced = [entry.balances for entry in direct_read.ledger_entries(settings, stream)]
        yield Check(f"ledger of {stream}: batches that balance", len(balanced), sum(balanced))
    for table in SILVER_CAPTURED:
        yield silver_equals_postgres(settings, table)
    yield stock_levels(settings, account)
    yield from _clicks_once(settings, account)
    yield _orders_in_gold(settings)
    yield _revenue(settings, orders_csv)
    yield from _alerts(settings, account)


def _one(settings: Settings, table: str, expression: str) -> Any:
    connection = direct_read.connect(settings, table)
    layer, _, name = table.partition(".")
    return direct_read.rows(connection, f'select {expression} from "{layer}"."{name}"')[0][0]  # noqa: S608 - both are ours


def _bronze(settings: Settings, account: Account) -> Iterator[Check]:
    yield Check(
        "inventory: good events in Bronze",
        account.inventory.good,
        _one(settings, "bronze.inventory_events", "count(*)"),
    )
    ids = _one(settings, "bronze.inventory_events", "list(event_id)")
    yield Check("inventory: event ids in Bronze, one by one", Counter(account.inventory.event_ids), Counter(ids or []))
    yield Check("clicks: good lines in Bronze", account.clicks.good, _one(settings, "bronze.click_events", "count(*)"))
    objects = _one(settings, "bronze.click_events", "count(distinct _source_file)")
    yield Check("clicks: objects in Bronze", account.clicks.objects, objects)
    for table in ("customers", "products", "orders"):
        expected = {op: n for op, n in account.changes.events(table).items() if op != "tombstone" and n}
        connection = direct_read.connect(settings, f"bronze.{table}_changes")
        sql = f'select op, count(*) from "bronze"."{table}_changes" group by op'  # noqa: S608 - the name is ours
        yield Check(f"{table}: change events in Bronze by kind", expected, dict(direct_read.rows(connection, sql)))


def _quarantine(settings: Settings, account: Account) -> Iterator[Check]:
    found = quarantine_counts(settings)
    sources = {
        "inventory_events": account.inventory.bad,
        "click_events": account.clicks.bad,
        "orders_changes": account.changes.bad,
    }
    for stream in STREAMS:
        expected = +sources.get(stream, Counter())
        yield Check(f"quarantine of {stream} by reason", dict(expected), dict(found.get(stream, Counter())))


def silver_equals_postgres(settings: Settings, table: CapturedTable) -> Check:
    """Silver and the table in Postgres as two bags of rows, value by value."""
    columns = ", ".join(table.columns.names)
    with psycopg.connect(**settings.postgres_conninfo) as connection:  # type: ignore[arg-type]
        source = connection.execute(f"select {columns} from {table.name}").fetchall()  # noqa: S608 - the names are ours
    lake = direct_read.rows(
        direct_read.connect(settings, table.silver.name),
        f'select {columns} from "silver"."{table.name}"',  # noqa: S608
    )
    expected, found = Counter(map(_plain, source)), Counter(map(_plain, lake))
    differing = (expected - found) + (found - expected)
    return Check(f"silver.{table.name} equals Postgres, row by row ({len(source)} rows)", [], list(differing)[:3])


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.timestamp() if isinstance(value, datetime) else value for value in row)


def stock_levels(settings: Settings, account: Account) -> Check:
    """The newest level of each product and warehouse: its sequence and its stock, against the shop's own."""
    expected = {pair: (level.sequence, level.on_hand) for pair, level in account.levels.items()}
    connection = direct_read.connect(settings, INVENTORY_LEVELS.name)
    sql = 'select sku, warehouse_id, sequence, on_hand from "silver"."inventory_levels"'
    found = {(sku, warehouse): (seq, stock) for sku, warehouse, seq, stock in direct_read.rows(connection, sql)}
    differing = sorted(expected.items() ^ found.items())
    return Check(f"{INVENTORY_LEVELS.name}: sequence and stock of {len(expected)} levels", [], differing[:3])


def _clicks_once(settings: Settings, account: Account) -> Iterator[Check]:
    events = account.clicks.events
    yield Check("silver.clicks: events without their repeats", events, _one(settings, "silver.clicks", "count(*)"))
    in_visits = _one(settings, "silver.sessions", "sum(events)::bigint")
    yield Check("silver.sessions: events of all visits", events, in_visits or 0)
    ids = _one(settings, "silver.clicks", "count(distinct session_id) filter (trim(session_id) <> '')")
    visits = _one(settings, "silver.sessions", "count(*) filter (not is_inferred)")
    yield Check("silver.sessions: one visit for each session id", ids, visits)


def _orders_in_gold(settings: Settings) -> Check:
    """Every order of Postgres is published, also fees, returns and cancelled ones; a deleted order is not."""
    connection = direct_read.connect(settings, "gold.fct_orders")
    found = direct_read.rows(connection, 'select status, count(*) from "gold"."fct_orders" group by 1')
    with psycopg.connect(**settings.postgres_conninfo) as source:  # type: ignore[arg-type]
        expected = source.execute("select status, count(*) from orders group by 1").fetchall()
    return Check("gold.fct_orders: orders by status, as in Postgres", dict(expected), dict(found))


def _revenue(settings: Settings, orders_csv: Path | None) -> Check:
    """Revenue per day in the published table against a few independent lines over the source."""
    connection = direct_read.connect(settings, "gold.agg_daily_sales")
    sql = 'select order_date, sum(revenue) from "gold"."agg_daily_sales" group by 1'
    found = {day: Decimal(str(revenue)) for day, revenue in direct_read.rows(connection, sql)}
    if orders_csv:
        return Check("revenue per day equals the invoice file, to the cent", revenue_of_file(orders_csv), found)
    query = """select o.order_date, sum(o.amount) from orders o join products p using (product_id)
               where o.status <> 'cancelled' and p.category <> 'Fees' group by 1"""
    with psycopg.connect(**settings.postgres_conninfo) as source:  # type: ignore[arg-type]
        expected: dict[date, Decimal] = dict(source.execute(query).fetchall())
    return Check("revenue per day equals Postgres, to the cent", expected, found)


# Stock codes that are charges, not goods (README, "What counts as revenue").
CHARGES = {"POST", "D", "DOT", "M", "C2", "S", "B", "BANK CHARGES", "AMAZONFEE", "CRUK", "PADS"}


def _is_charge(code: str) -> bool:
    return code.strip().upper() in CHARGES or code.strip().lower().startswith("gift_")


def _day_of(text: str) -> date:
    for written in ("%m/%d/%y %H:%M", "%m/%d/%Y %H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            return datetime.strptime(text.strip(), written).date()  # noqa: DTZ007 - a shop's own wall clock
        except ValueError:
            continue
    raise ValueError(f"{text!r} is no date of an invoice file")


def revenue_of_file(orders_csv: Path) -> dict[date, Decimal]:
    """Sales less returns, without fees: the rules of the README, in lines that share nothing with shop or dbt.

    Days on which only fees were charged are left out, as `agg_daily_sales` has no row for them.
    """
    revenue: dict[date, Decimal] = {}
    # A spreadsheet marks UTF-8 with three bytes at the start, which would belong to the first column's name. Of the
    # text only codes, numbers and dates count here, and those are ASCII in every encoding.
    with orders_csv.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        for line in csv.DictReader(lines):
            if not _is_charge(line["StockCode"]):
                amount = Decimal(line["Quantity"]) * Decimal(line["UnitPrice"])
                day = _day_of(line["InvoiceDate"])
                revenue[day] = revenue.get(day, Decimal(0)) + amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return revenue


def _alerts(settings: Settings, account: Account) -> Iterator[Check]:
    # Reorder points that earlier nights computed may lie above the default: then there are more alerts, never fewer.
    missing = alerts.missing_alerts(settings, account)
    yield Check("low stock: alerts that the shop expects and nobody raised", [], missing)
    repeated = alerts.out_of_turn(alerts_raised(settings))
    yield Check("low stock: alerts that do not follow from the one before, as two openings", [], repeated[:3])
    if not alerts.has_own_webhook(settings):
        yield Check("low stock: messages at Slack, one for each alert", alerts.raised(settings), alerts.told(settings))
