"""Where tables are in a folder, one process of the machine holds a lease, and a look at it refuses nobody."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lakehouse import lease
from lakehouse.errors import LeaseHeld, LeaseLost
from lakehouse.settings import Settings


def lock_file(settings: Settings) -> Path:
    return Path(settings.warehouse) / "_leases" / "stream-a.lock"


def test_the_second_holder_is_refused_and_told_who_holds_it(settings: Settings) -> None:
    with lease.hold("stream-a", settings):
        assert lease.is_held("stream-a", settings)
        with pytest.raises(LeaseHeld, match=f"stream-a \\(process {os.getpid()}\\)"), lease.hold("stream-a", settings):
            pass
        assert lease.is_held("stream-a", settings)
    assert not lease.is_held("stream-a", settings)


def test_two_homes_with_one_warehouse_have_one_lease(settings: Settings, tmp_path: Path) -> None:
    shared = {"warehouse_uri": str(tmp_path / "lake")}
    here, there = (settings.model_copy(update={"home": tmp_path / home, **shared}) for home in ("here", "there"))
    with lease.hold("stream-a", here):
        assert lease.is_held("stream-a", there)
        with pytest.raises(LeaseHeld), lease.hold("stream-a", there):
            pass


def test_a_look_refuses_nobody_who_starts_at_that_moment(settings: Settings) -> None:
    is_over = threading.Event()

    def look() -> Counter[bool]:
        found: Counter[bool] = Counter()
        is_last = False
        while not is_last:
            is_last = is_over.is_set()
            found[lease.is_held("stream-a", settings)] += 1
        return found

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            for _ in range(500):
                with lease.hold("stream-a", settings):
                    pass
            with lease.hold("stream-a", settings):
                is_over.set()
                assert looking.result(timeout=30)[True]
        finally:
            is_over.set()


def test_a_holder_is_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.01)
    with lease.hold("stream-a", settings), pytest.raises(LeaseHeld):
        lease._take(lease._lease("stream-a", settings), "stream-a", 0.05, lambda: None)
    is_held, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with lease.hold("stream-a", settings):
            is_held.set()
            may_end.wait(30)

    holder = threading.Thread(target=first)
    holder.start()
    assert is_held.wait(30)
    threading.Timer(0.05, may_end.set).start()
    with lease.hold("stream-a", settings, wait_seconds=30):
        assert may_end.is_set()
    holder.join()


def test_a_lock_whose_file_was_removed_is_lost(settings: Settings) -> None:
    with pytest.raises(LeaseLost, match="somebody removed its file"):
        lose_the_file(settings)


def lose_the_file(settings: Settings) -> None:
    with lease.hold("stream-a", settings) as held:
        held.require()
        lock_file(settings).unlink()
        # Another driver can lock a new file now.
        with lease.hold("stream-a", settings):
            with pytest.raises(LeaseLost):
                held.require()
            with pytest.raises(LeaseLost):
                lease.require_all([held])
