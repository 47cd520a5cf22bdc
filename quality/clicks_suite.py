"""Clicks: what visitors did, as it arrived and without repeats."""

from __future__ import annotations

from lakehouse.tables import CLICK_EVENTS, CLICKS
from quality.checks import Suite, are_present, are_unique_together, is_one_of, is_present, is_unique
from quality.limits import EVENT_TYPES


def bronze() -> Suite:
    """Suite of bronze.click_events. Event ids may repeat here: browsers send again; a line of an object may not."""
    checks = (
        *are_present("event_id", "session_id", "timestamp"),
        are_unique_together("line_is_unique", CLICK_EVENTS.keys),
        is_one_of("event_type", EVENT_TYPES),
    )
    return Suite(CLICK_EVENTS, checks)


def silver() -> Suite:
    """Suite of silver.clicks: the first occurrence of each event."""
    checks = (
        *are_present("event_id", "session_id", "event_at", "event_date"),
        is_unique("event_id"),
        is_one_of("event_type", EVENT_TYPES),
        is_present("user_id", 0.10).only_warns(),
    )
    return Suite(CLICKS, checks)
