"""Plots of the morning report as positions in percent: the page draws them with CSS and SVG, without any script.

So they follow the width of a phone, the colours of the reader's theme and the paper of a printer, and the page needs no
library, no network and no permission to run code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from batch.report_format import DASH, age, amount, clock, count, decimal_number, share, short_day
from batch.report_tables import Row

MEAN_DAYS = 7
TICKS = 4
LABELS = 6
MANY_SLICES = 12
SEGMENTS = ("Champions", "Loyal", "Promising", "New", "At risk", "Lost")
"""The order in which a reader expects them."""


@dataclass(frozen=True)
class DayBar:
    """One day of the sales plot: `height` in percent of the plot, `label` under it where there is one."""

    height: float
    tip: str
    label: str
    is_newest: bool


@dataclass(frozen=True)
class SalesPlot:
    """Revenue by day. `ticks`: (position from below in percent, text); `mean`: points of the line, in percent."""

    bars: list[DayBar]
    ticks: list[tuple[float, str]]
    mean: str


@dataclass(frozen=True)
class Bar:
    """One bar of a list: `width` in percent of the longest, `value` its text, `note` what stands beside it; a bad one
    is red.
    """

    name: str
    width: float
    value: str
    note: str
    is_bad: bool = False


def sales_plot(daily: Sequence[Row], days: int) -> SalesPlot:
    """Bars for the last `days` calendar days (a day without sales is a gap) and the mean of seven days as a line."""
    by_day = {row["order_date"]: row for row in daily}
    newest = daily[-1]["order_date"]
    first = max(daily[0]["order_date"], newest - timedelta(days=days - 1))
    shown = [first + timedelta(days=n) for n in range((newest - first).days + 1)]
    top, ticks = _scale(max(float(by_day[day]["revenue"]) for day in shown if day in by_day))
    every = math.ceil(len(shown) / LABELS)
    bars = [
        DayBar(
            height=_percent(float(by_day[day]["revenue"]) if day in by_day else 0.0, top),
            tip=_tip(day, by_day.get(day)),
            label=f"{day.day} {day:%b}" if (len(shown) - 1 - position) % every == 0 else "",
            is_newest=day == newest,
        )
        for position, day in enumerate(shown)
    ]
    return SalesPlot(
        bars, [(_percent(tick, top), amount(tick).removesuffix(".00")) for tick in ticks], _mean(by_day, shown, top)
    )


def margin_bars(rows: Sequence[Row]) -> list[Bar]:
    """Margin per name, best first, with the revenue beside it. Names without a known cost come last."""
    ordered = sorted(rows, key=lambda row: (row["margin"] is None, -(row["margin"] or 0)))[:MANY_SLICES]
    longest = max((abs(float(row["margin"] or 0)) for row in ordered), default=0.0)
    return [
        Bar(
            name=row["name"],
            width=_percent(abs(float(row["margin"] or 0)), longest),
            value="no cost known" if row["margin"] is None else share(row["margin"]),
            note=f"of {count(row['revenue'])}",
            is_bad=(row["margin"] or 0) < 0,
        )
        for row in ordered
    ]


def segment_bars(rows: Sequence[Row]) -> list[Bar]:
    """Customers per segment, from the best to the lost, with their share of the revenue."""
    rows = sorted(rows, key=lambda row: SEGMENTS.index(row["name"]) if row["name"] in SEGMENTS else len(SEGMENTS))
    total = sum(float(row["monetary"] or 0) for row in rows)
    longest = max((row["customers"] for row in rows), default=0)
    return [
        Bar(
            name=row["name"],
            width=_percent(row["customers"], longest),
            value=count(row["customers"]),
            note=f"{share(float(row['monetary'] or 0) / total, 0)} of revenue" if total > 0 else "",
        )
        for row in rows
    ]


def funnel_bars(day: Row) -> list[Bar]:
    """Visits that reached each step of one day, with the share of the visits at the step before that went on."""
    steps = (
        ("Visits", "sessions", None),
        ("Saw a product", "view_sessions", None),
        ("Put it in the cart", "cart_sessions", "view_to_cart_rate"),
        ("Went to checkout", "checkout_sessions", "cart_to_checkout_rate"),
        ("Bought", "purchase_sessions", "checkout_to_purchase_rate"),
    )
    return [
        Bar(
            name=name,
            width=_percent(day[column], day["sessions"]),
            value=count(day[column]),
            note=f"{share(day[rate], 0)} went on" if rate and day[rate] is not None else "",
        )
        for name, column, rate in steps
    ]


def stock_bars(rows: Sequence[Row]) -> list[Bar]:
    """Pieces missing up to the reorder point per product and warehouse, in the order of `rows`; red where the stock
    ends before an order that is placed now arrives.
    """
    longest = max((row["reorder_point"] - row["on_hand"] for row in rows), default=0)
    return [
        Bar(
            name=f"{row['product_name'] or row['sku']}, {row['warehouse_id']}",
            width=_percent(row["reorder_point"] - row["on_hand"], longest),
            value=f"{count(row['reorder_point'] - row['on_hand'])} missing",
            note=_lasts(row),
            is_bad=row["on_hand"] <= 0 or (row["days_left"] is not None and row["days_left"] < row["lead_time_days"]),
        )
        for row in rows
    ]


def age_bars(newest: Mapping[str, datetime | None], now: datetime, zone: ZoneInfo) -> list[Bar]:
    """Age of the newest event of each source. The longest bar is the oldest one, or a day where all are younger: what
    arrived just now must not look old.
    """
    ages = {name: now - at for name, at in newest.items() if at}
    longest = max((timedelta(days=1), *ages.values())) / timedelta(seconds=1)
    return [
        Bar(
            name=name,
            width=_percent(ages[name] / timedelta(seconds=1), longest) if name in ages else 0.0,
            value=age(ages[name]) if name in ages else DASH,
            note=clock(at, zone) if at else "no event yet",
        )
        for name, at in newest.items()
    ]


def sparkline(values: Sequence[float], low: float = 0.0, high: float = 100.0) -> str:
    """Points of a small line in a box of 100 by 100; empty for fewer than two values."""
    if len(values) < 2:
        return ""
    step, span = 100 / (len(values) - 1), high - low
    return " ".join(f"{n * step:.2f},{100 - 100 * (value - low) / span:.2f}" for n, value in enumerate(values))


def _mean(by_day: dict[date, Row], shown: Sequence[date], top: float) -> str:
    first = min(by_day)
    points = []
    for position, day in enumerate(shown):
        if (day - first).days + 1 < MEAN_DAYS:
            continue
        window = [by_day.get(day - timedelta(days=back)) for back in range(MEAN_DAYS)]
        mean = sum(float(row["revenue"]) for row in window if row) / MEAN_DAYS
        points.append(f"{100 * (position + 0.5) / len(shown):.2f},{100 - _percent(mean, top):.2f}")
    return " ".join(points) if len(points) > 1 else ""


def _lasts(row: Row) -> str:
    if row["on_hand"] <= 0:
        return "out of stock"
    return "not sold lately" if row["days_left"] is None else f"lasts {decimal_number(row['days_left'])} days"


def _tip(day: date, row: Any) -> str:
    if row is None:
        return f"{short_day(day)}: no sales"
    return f"{short_day(day)}: {amount(row['revenue'])} · {count(row['orders'])} orders · margin {share(row['margin'])}"


def _scale(highest: float) -> tuple[float, list[float]]:
    """The top of the axis and its ticks: round steps of 1, 2, 2.5 or 5 times a power of ten."""
    if highest <= 0:
        return 1.0, [0.0]
    raw = highest / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * size for size in (1, 2, 2.5, 5, 10) if power * size >= raw)
    number = math.ceil(highest / step)
    return step * number, [step * n for n in range(number + 1)]


def _percent(part: float, whole: float) -> float:
    return round(min(100.0, max(0.0, 100 * float(part) / float(whole))), 2) if whole else 0.0
