"""How the morning report writes numbers, days and ages. An unknown value is a dash, never a zero."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias
from zoneinfo import ZoneInfo

Number: TypeAlias = int | float | Decimal
DASH = "\u2013"
MINUS = "\u2212"
WHOLE_FROM = 10_000
"""From this amount on, cents only make the page harder to read."""


def amount(value: Number | None) -> str:
    """An amount of money: 1,234.50, or 12,345 where cents no longer matter."""
    if value is None:
        return DASH
    return _signed(f"{value:,.0f}" if abs(float(value)) >= WHOLE_FROM else f"{value:,.2f}")


def count(value: Number | None) -> str:
    """A number of things: 12,345."""
    return DASH if value is None else _signed(f"{value:,.0f}")


def share(value: Number | None, digits: int = 1) -> str:
    """A share as a percentage: 0.251 is 25.1 %."""
    return DASH if value is None else _signed(f"{100 * float(value):.{digits}f}\u202f%")


def decimal_number(value: Number | None, digits: int = 1) -> str:
    """A number with a fixed count of digits after the point."""
    return DASH if value is None else _signed(f"{float(value):,.{digits}f}")


def long_day(day: date) -> str:
    """Monday 23 November 2026."""
    return f"{day:%A} {day.day} {day:%B %Y}"


def short_day(day: date) -> str:
    """Mon 23 Nov."""
    return f"{day:%a} {day.day} {day:%b}"


def clock(at: datetime | None, zone: ZoneInfo) -> str:
    """06:12 on Mon 23 Nov, in the business time zone."""
    if at is None:
        return DASH
    local = at.astimezone(zone)
    return f"{local:%H:%M} on {short_day(local.date())}"


def duration(seconds: Number | None) -> str:
    """4.2 s, 3 min 12 s, 2 h 5 min."""
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{float(seconds):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def age(span: timedelta) -> str:
    """How long ago: 40 seconds, 3 minutes, 5 hours, 2 days."""
    seconds = max(0, round(span.total_seconds()))
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size or (seconds >= size and unit != "day"):
            number = seconds // size
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def words(name: str) -> str:
    """A name of ours for people: negative_on_hand is `negative on hand`."""
    return name.replace("_", " ")


def _signed(text: str) -> str:
    return text.replace("-", MINUS)
