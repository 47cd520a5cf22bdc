"""A request that can't be read is answered, and holds up no other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from lakehouse.settings import Settings
from streaming import quarantine_desk, quarantine_requests
from streaming.quarantine_commands import quarantine
from streaming.quarantine_requests import Answer, Request
from streaming.quarantine_selection import Selection

TABLE = "inventory_events"
STREAM: Any = SimpleNamespace(spec=SimpleNamespace(table=TABLE))
GOOD = Request("2", TABLE, "replay", Selection(), "tester")
BEFORE = Request("1", TABLE, "replay", Selection(), "tester")
"""Of another version, and before the good one."""
UNREADABLE = {
    "a field that nobody knows": json.dumps(asdict(BEFORE) | {"priority": 1}),
    "a field is missing": json.dumps({"request_id": "1"}),
    "no object": "[]",
    "no selection": json.dumps(asdict(BEFORE) | {"selection": None}),
    "no JSON": "{",
    "no text": "\udcff",
    "another request": json.dumps(asdict(BEFORE) | {"request_id": "7"}),
}


@pytest.fixture(params=UNREADABLE)
def waiting(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    quarantine_requests.submit(settings, BEFORE)
    (file,) = Path(settings.home).rglob("1.request.json")
    file.write_bytes(UNREADABLE[request.param].encode("utf-8", "surrogateescape"))
    quarantine_requests.submit(settings, GOOD)
    return settings


def test_the_owner_executes_what_it_can_read_and_answers_the_rest(
    waiting: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Answer({"replayed": 1})
    monkeypatch.setattr(quarantine_desk.replay, "execute", lambda *_: done)
    nothing: Any = None
    assert quarantine_desk.serve(nothing, waiting, [STREAM], nothing, {TABLE: nothing}) == 1
    assert quarantine_requests.take_answer(waiting, GOOD) == done
    refused = quarantine_requests.take_answer(waiting, BEFORE)
    assert refused is not None
    assert refused.trouble.startswith("The owner's version can't read the request")
    assert list(Path(waiting.home).rglob("*.request.json")) == []


def test_the_list_shows_what_can_be_read(waiting: Settings) -> None:
    printed = CliRunner().invoke(quarantine, ["list"], obj=waiting, catch_exceptions=False).output
    assert printed.splitlines()[-1] == f"waits: replay of {TABLE}, asked for by tester (2)"
