"""The day that a night is about: the parameter first, else the day before the fire time in the business zone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestration.business_date import business_date_of


def test_the_parameter_comes_first() -> None:
    assert (
        business_date_of({"business_date": "2026-03-01"}, datetime(2026, 11, 23, 6, tzinfo=UTC), "UTC") == "2026-03-01"
    )


@pytest.mark.parametrize(
    ("fired_at", "zone", "day"),
    [
        (datetime(2026, 11, 23, 6, 0, tzinfo=UTC), "Europe/London", "2026-11-22"),
        # 06:00 in Auckland is still the day before in UTC.
        (datetime(2026, 11, 22, 17, 0, tzinfo=UTC), "Pacific/Auckland", "2026-11-22"),
        # Just after midnight in summer time, while UTC has not turned the day.
        (datetime(2026, 7, 1, 23, 30, tzinfo=UTC), "Europe/London", "2026-07-01"),
        # The nights in which the clocks change.
        (datetime(2026, 3, 29, 5, 0, tzinfo=UTC), "Europe/London", "2026-03-28"),
        (datetime(2026, 10, 25, 6, 0, tzinfo=UTC), "Europe/London", "2026-10-24"),
    ],
)
def test_else_it_is_the_day_before_in_the_business_zone(fired_at: datetime, zone: str, day: str) -> None:
    assert business_date_of({}, fired_at, zone) == day
    assert business_date_of({"business_date": None}, fired_at, zone) == day


def test_a_parameter_that_is_no_date_is_refused() -> None:
    with pytest.raises(ValueError, match="yesterday"):
        business_date_of({"business_date": "yesterday"}, datetime(2026, 11, 23, tzinfo=UTC), "UTC")


def test_a_fire_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        business_date_of({}, datetime(2026, 11, 23, 6, 0), "UTC")


def test_a_day_that_has_not_come_in_the_business_zone_is_refused_and_the_run_s_own_day_is_not() -> None:
    # Noon in UTC is the next day in Auckland already.
    fired_at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert business_date_of({"business_date": "2026-11-23"}, fired_at, "Pacific/Auckland") == "2026-11-23"
    for day, zone in (("2026-11-24", "Pacific/Auckland"), ("2026-11-23", "UTC"), ("2027-11-22", "UTC")):
        with pytest.raises(ValueError, match=f"{day} has not come yet"):
            business_date_of({"business_date": day}, fired_at, zone)
