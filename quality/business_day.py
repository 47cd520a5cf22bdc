"""The day that a night closes, and the moment at which it began."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from pyspark.sql import Column
from pyspark.sql import functions as F

from lakehouse.settings import Settings


@dataclass(frozen=True)
class BusinessDay:
    """A date in the business zone; `start` is its first moment, in UTC."""

    date: date
    start: datetime

    @property
    def since(self) -> str:
        """The start for a person, in UTC."""
        return f"since {self.start:%Y-%m-%d %H:%M} UTC"

    def hours_to(self, moment: Column) -> Column:
        """Hours from the start of the day to a timestamp; below 0 for what is older than the day."""
        return (F.unix_timestamp(moment) - int(self.start.timestamp())) / 3600


def business_day(settings: Settings, of: date) -> BusinessDay:
    """The business day of a date, by `settings.business_time_zone`."""
    midnight = datetime.combine(of, time(), ZoneInfo(settings.business_time_zone))
    return BusinessDay(of, midnight.astimezone(UTC))
