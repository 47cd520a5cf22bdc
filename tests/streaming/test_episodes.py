"""Episodes: one alert for each of opened, escalated, closed; nothing for what is not newer."""

from __future__ import annotations

from datetime import datetime

import pytest

from streaming.episodes import Episode, Level, step

REORDER, CLEAR = 20, 30.0


def alerts(*levels: tuple[int, int]) -> list[str]:
    """Kinds of alerts that (sequence, on_hand) pairs cause, in their order."""
    known: Episode | None = None
    found = []
    for sequence, on_hand in levels:
        known, kind = step(known, Level("P1", "W1", on_hand, sequence, datetime(2026, 1, 1)), REORDER, CLEAR)
        found += [kind] if kind else []
    return found


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([(1, 40), (2, 21)], []),
        ([(1, 40), (2, 20)], ["opened"]),
        ([(1, 40), (2, 20), (3, 12), (4, 5)], ["opened"]),
        ([(1, 20), (2, 0)], ["opened", "escalated"]),
        ([(1, 20), (2, 0), (3, 4), (4, 0)], ["opened", "escalated"]),
        ([(1, 0)], ["opened"]),
        ([(1, 0), (2, 0)], ["opened"]),
        ([(1, 20), (2, 30)], ["opened"]),
        ([(1, 20), (2, 31)], ["opened", "closed"]),
        ([(1, 20), (2, 31), (3, 19)], ["opened", "closed", "opened"]),
    ],
)
def test_an_episode_sends_one_alert_for_each_transition(levels: list[tuple[int, int]], expected: list[str]) -> None:
    assert alerts(*levels) == expected


def test_a_late_event_changes_nothing() -> None:
    assert alerts((5, 40), (3, 2), (5, 1), (6, 39)) == []


def test_a_repeated_event_changes_nothing() -> None:
    assert alerts((1, 20), (1, 20), (1, 20)) == ["opened"]
