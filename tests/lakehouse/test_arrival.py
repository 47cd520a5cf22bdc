"""How long a night waits for Bronze: as long as changes are seen to come, by a clock of the test."""

from __future__ import annotations

from typing import cast

import pytest
from pyspark.sql import SparkSession

from lakehouse import arrival, standstill
from lakehouse.arrival import ChangesNotInBronze, Ends
from lakehouse.settings import Settings

PLACE = ("shop.public.orders", 0)
NOBODY = cast(SparkSession, None)


class Clock:
    """Time that passes only in a pause."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (arrival, standstill):
        monkeypatch.setattr(module, "time", clock)
    return clock


def behind_by(offsets: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look at Bronze find it so many offsets behind; the last number stays."""

    def behind(*_: object) -> Ends:
        left = offsets.pop(0) if len(offsets) > 1 else offsets[0]
        return {PLACE: left} if left else {}

    monkeypatch.setattr(arrival, "behind", behind)


def test_a_transaction_that_takes_longer_than_the_limit_is_waited_for_while_it_comes(
    clock: Clock, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_by([*range(100, 0, -1), 0], monkeypatch)
    arrival.wait_for_bronze(NOBODY, settings, {PLACE: 100}, timeout_seconds=2)
    assert clock.now == 100 * arrival.POLL_SECONDS


def test_bronze_that_takes_nothing_for_so_long_ends_the_night(
    clock: Clock, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_by([100, 90, 90, 80], monkeypatch)
    with pytest.raises(ChangesNotInBronze, match=r"took none for 2 s: it is behind shop.public.orders/0 by 80 offsets"):
        arrival.wait_for_bronze(NOBODY, settings, {PLACE: 100}, timeout_seconds=2)
    assert 3 * arrival.POLL_SECONDS + 2 < clock.now < 3 * arrival.POLL_SECONDS + 3
