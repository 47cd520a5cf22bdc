"""When a part of the way from Postgres to Bronze needs an operator, and which cure is named."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lakehouse import metrics
from lakehouse.settings import Settings
from streaming import source_connector, source_status
from streaming.source_connector import Connector
from streaming.source_slot import SourceState

NOW = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
IN_ORDER = SourceState(
    incarnation="7/1",
    beat=5,
    beat_at=NOW,
    asked_at=NOW,
    wal_status="reserved",
    is_active=True,
    restart_lsn="0/10",
    confirmed_flush_lsn="0/20",
    retained_bytes=1_000_000,
    safe_bytes=4_000_000_000,
    invalidation_reason=None,
)


def slot(settings: Settings, **values: Any) -> source_status.Finding:
    return source_status.slot_finding(settings, SourceState(**(vars(IN_ORDER) | values)))


@pytest.mark.parametrize("status", ["reserved", "extended"])
def test_a_slot_that_is_read_and_small_needs_nobody(settings: Settings, status: str) -> None:
    assert slot(settings, wal_status=status).cure == ""


@pytest.mark.parametrize("status", [one for one in metrics.WAL_STATUSES if one not in ("reserved", "extended")])
def test_a_slot_that_is_or_will_be_lost_needs_an_operator(settings: Settings, status: str) -> None:
    assert source_status.SLOT_RUNBOOK in slot(settings, wal_status=status, restart_lsn=None, retained_bytes=None).cure


def test_the_reason_of_an_invalidation_is_named(settings: Settings) -> None:
    found = slot(settings, wal_status="lost", restart_lsn=None, retained_bytes=None, invalidation_reason="wal_removed")
    assert "is gone (wal_removed)" in str(found)


def test_a_slot_that_nobody_reads_or_that_keeps_much_needs_an_operator(settings: Settings) -> None:
    assert "read by nobody" in slot(settings, is_active=False).found
    assert slot(settings, is_active=False).cure
    assert slot(settings, retained_bytes=source_status.MANY_BYTES + 1).cure


def test_a_server_without_a_limit_says_so(settings: Settings) -> None:
    assert "without a limit" in slot(settings, safe_bytes=None).found


@pytest.mark.parametrize(
    ("states", "is_running"),
    [
        (("RUNNING", "RUNNING"), True),
        (("RUNNING",), False),
        (("RUNNING", "FAILED"), False),
        (("PAUSED", "PAUSED"), False),
        (("STOPPED",), False),
        ((), False),
    ],
)
def test_a_connector_captures_only_while_it_and_its_task_run(states: tuple[str, ...], is_running: bool) -> None:
    assert Connector(states, "", "7/1").is_running is is_running


def test_services_that_do_not_answer_are_findings_too(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        settings = Settings(home=tmp_path, postgres_port=port, connect_url=f"http://127.0.0.1:{port}")
        found = {one.part: one for one in source_status.findings(settings)}
    assert [part for part, one in found.items() if one.cure] == ["slot", "connector"]
    assert "LAKEHOUSE_POSTGRES_" in found["slot"].cure
    assert "LAKEHOUSE_CONNECT_URL" in found["connector"].cure


def test_the_incarnation_is_read_where_the_connector_file_has_it() -> None:
    file = Path(__file__).parents[2] / "infra" / "debezium" / "connector.json"
    assert f'"{source_connector.INCARNATION}": "@source_incarnation@"' in file.read_text("utf-8")
