"""Days of the business zone, and times of day as a shop has them: quiet nights, busy noons and evenings."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

_BUSY_BY_HOUR = (2, 1, 1, 1, 1, 2, 4, 7, 10, 13, 15, 16, 17, 15, 13, 12, 12, 13, 15, 17, 18, 16, 10, 5)
_BUSY_BY_WEEKDAY = (1.1, 1.05, 1.0, 1.0, 1.1, 0.95, 0.8)


def day_bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Begin and end of a business day, in UTC; 23 or 25 hours apart when clocks change."""
    begin = datetime.combine(day, time(), zone)
    end = datetime.combine(day + timedelta(days=1), time(), zone)
    return begin.astimezone(UTC), end.astimezone(UTC)


def at_hour(day: date, hour: int, minute: int, zone: ZoneInfo) -> datetime:
    """A wall-clock time of a business day, in UTC."""
    return datetime.combine(day, time(hour, minute), zone).astimezone(UTC)


def busy_times(rng: Random, begin: datetime, end: datetime, count: int, zone: ZoneInfo) -> list[datetime]:
    """`count` UTC times in [begin, end), sorted, dense where the shop is busy; none when the span is empty."""
    seconds = (end - begin).total_seconds()
    if seconds <= 0:
        return []
    peak = max(_BUSY_BY_HOUR)
    times: list[datetime] = []
    while len(times) < count:
        moment = begin + timedelta(seconds=rng.random() * seconds)
        if rng.random() * peak < _BUSY_BY_HOUR[moment.astimezone(zone).hour] or seconds < 3600:
            times.append(moment)
    return sorted(times)


def weekday_factor(day: date) -> float:
    """How busy this day of the week is; about 1 on average."""
    return _BUSY_BY_WEEKDAY[day.weekday()]


def iso_utc(moment: datetime) -> str:
    """UTC as text with microseconds; such texts sort like their times."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
