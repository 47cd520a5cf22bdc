"""A night waits for streams that run, and does their work itself when nobody does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from lakehouse import lease
from lakehouse.errors import LeaseHeld
from lakehouse.settings import Settings
from streaming import catch_up

SPARK: Any = None


class Night:
    """One topic that ends at offset 5; `looks` are taken one by one as somebody's progress: what to do, and how far."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        self.settings = settings
        self.looks: list[tuple[Callable[[], None], int]] = []
        self.new_objects = [False]
        self.did_it_itself = False
        lister = SimpleNamespace(has_new=lambda: self.new_objects.pop() if len(self.new_objects) > 1 else False)
        patch.setattr(catch_up, "POLL_SECONDS", 0.0)
        patch.setattr(catch_up, "ObjectLister", lambda _: lister)
        patch.setattr(catch_up, "end_offsets", lambda *_: {("events", 0): 5})
        patch.setattr(catch_up.queries, "catch_up", self._catch_up)
        patch.setattr(catch_up.queries, "streams", lambda *_: [self._stream()])
        patch.setattr(catch_up.checkpoint, "location", lambda *_: "checkpoint")
        patch.setattr(catch_up.checkpoint, "committed_positions", self._look)

    def _catch_up(self, *_: Any) -> None:
        self.did_it_itself = True

    @staticmethod
    def _stream() -> Any:
        return SimpleNamespace(spec=SimpleNamespace(table="events"), topics=("events",))

    def _look(self, *_: Any) -> dict[tuple[str, int], int]:
        happens, position = self.looks.pop(0)
        happens()
        return {("events", 0): position}

    def begin(self) -> None:
        catch_up.catch_up(SPARK, self.settings)


@pytest.fixture
def night(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Night:
    return Night(settings, monkeypatch)


@pytest.fixture
def holder(settings: Settings) -> ExitStack:
    """Somebody who holds the lease of the stream until it is closed."""
    holder = ExitStack()
    holder.enter_context(lease.hold(lease.of_stream("events"), settings))
    return holder


def nothing() -> None:
    return


def test_a_night_without_streams_catches_up_itself(night: Night) -> None:
    night.begin()
    assert night.did_it_itself


def test_a_night_waits_for_streams_that_run(night: Night, holder: ExitStack) -> None:
    night.looks = [(nothing, 2), (nothing, 5)]
    with holder:
        night.begin()
    assert not night.did_it_itself
    assert night.looks == []


def test_a_lease_that_was_held_for_a_moment_is_not_taken_for_a_stream(night: Night, holder: ExitStack) -> None:
    night.looks = [(nothing, 2), (holder.close, 2)]
    night.begin()
    assert night.did_it_itself


def test_streams_that_start_when_the_night_would_take_over_are_waited_for(
    night: Night, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as starting:

        def taken(*_: Any) -> None:
            starting.enter_context(lease.hold(lease.of_stream("events"), settings))
            raise LeaseHeld("stream-events", "the streams")

        monkeypatch.setattr(catch_up.queries, "catch_up", taken)
        night.looks = [(nothing, 2), (nothing, 5)]
        night.begin()
    assert night.looks == []


def test_objects_that_nobody_will_announce_are_announced_by_the_night(
    night: Night, holder: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.new_objects = [True, True]
    monkeypatch.setattr(catch_up.time, "sleep", lambda _: holder.close())
    night.begin()
    assert night.did_it_itself
