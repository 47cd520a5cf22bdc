"""Clicks: what visitors did, as it arrived and without repeats."""

from __future__ import annotations

from lakehouse.tables import CLICK_EVENTS, CLICKS, SESSIONS
from quality.checks import Suite, are_present, are_unique_together, is_between, is_one_of, is_present, is_unique
from quality.limits import EVENT_TYPES

MISSING_SESSION_SHARE_MAX = 0.10
"""Of clicks: browsers that keep nothing. A field that was renamed would lack in all."""
VISIT_SECONDS_MAX = 7 * 24 * 3600
"""A session id that lives longer is a robot's, or is given to several visitors."""


def bronze() -> Suite:
    """Suite of bronze.click_events. Event ids may repeat here: browsers send again; a line of an object may not."""
    checks = (
        *are_present("event_id", "timestamp"),
        is_present("session_id", 1 - MISSING_SESSION_SHARE_MAX).only_warns(),
        are_unique_together("line_is_unique", CLICK_EVENTS.keys),
        is_one_of("event_type", EVENT_TYPES),
    )
    return Suite(CLICK_EVENTS, checks)


def silver() -> Suite:
    """Suite of silver.clicks: the first occurrence of each event."""
    checks = (
        *are_present("event_id", "event_at", "event_date"),
        is_present("session_id", 1 - MISSING_SESSION_SHARE_MAX).only_warns(),
        is_unique("event_id"),
        is_one_of("event_type", EVENT_TYPES),
        is_present("user_id", 0.10).only_warns(),
    )
    return Suite(CLICKS, checks)


def sessions() -> Suite:
    """Suite of silver.sessions: each visit once, and none that lasts for weeks."""
    checks = (
        *are_present("session_id", "started_at", "ended_at", "event_date"),
        is_unique("session_id"),
        is_between("events", 1, None),
        is_between("duration_seconds", 0, VISIT_SECONDS_MAX).only_warns(),
    )
    return Suite(SESSIONS, checks)
