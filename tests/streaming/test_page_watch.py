"""The watch over the replication slot outlives whatever Postgres says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from lakehouse.settings import Settings
from streaming import page_watch, source_slot
from streaming.source_slot import SlotNotRead


class Refusing:
    """A connection whose statement fails."""

    def cursor(self, **_: Any) -> Refusing:
        return self

    def execute(self, *_: Any) -> None:
        raise psycopg.errors.UndefinedTable('relation "heartbeats" does not exist\nLINE 7: from heartbeats')


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def reading(_: Settings) -> Iterator[Any]:
        yield Refusing(), type("Cut", (), {"incarnation": "7:1"})

    monkeypatch.setattr(source_slot.source_cut, "reading", reading)


@pytest.mark.usefixtures("refused")
def test_what_postgres_says_is_told_with_a_cure(settings: Settings) -> None:
    with pytest.raises(SlotNotRead, match=r'relation "heartbeats" does not exist. Was it .* infra/postgres/'):
        source_slot.ask(settings)


@pytest.mark.usefixtures("refused")
def test_the_watch_goes_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping, warned = threading.Event(), []

    class Log:
        def warning(self, event: str, **_: Any) -> None:
            warned.append(event)
            if len(warned) == 2:
                stopping.set()

    monkeypatch.setattr(page_watch, "SECONDS", 0.0)
    monkeypatch.setattr(page_watch, "log", Log())
    page_watch.watch(settings, stopping, page_watch.slot)
    assert warned == ["slot_not_seen", "slot_not_seen"]
