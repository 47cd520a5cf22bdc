"""Which day a night is about. Airflow's own `ds` is another day on a cron schedule, or undefined."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo


def business_date_of(params: Mapping[str, Any], fired_at: datetime, zone: str) -> str:
    """The day whose numbers a run makes, as ISO text: the parameter if given, else the day before `fired_at` in `zone`.

    `fired_at` must carry a zone. Raises `ValueError` if it does not, and for a parameter that is no date or lies after
    the day of `fired_at` in `zone`.
    """
    if fired_at.tzinfo is None:
        raise ValueError(f"The fire time {fired_at} has no time zone, so the business day can't be told.")
    today = fired_at.astimezone(ZoneInfo(zone)).date()
    given = params.get("business_date")
    if not given:
        return (today - timedelta(days=1)).isoformat()
    business_date = date.fromisoformat(str(given))
    if business_date > today:
        # Nothing was sold then: all checks would pass, and each reorder point would be published as 0.
        raise ValueError(f"The business date {business_date} has not come yet: the run is of {today} in {zone}.")
    return business_date.isoformat()
