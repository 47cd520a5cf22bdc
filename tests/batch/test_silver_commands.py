"""Commands that write Silver do not run beside a night, which builds Gold from the Silver that it compared."""

from __future__ import annotations

import pytest
from click import Command
from click.testing import CliRunner

from batch.commands import batch
from batch.reconcile_commands import reconcile
from lakehouse import lease, night_step, session
from lakehouse.errors import LeaseHeld
from lakehouse.settings import Settings


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (reconcile, []),
        (reconcile, ["--repair"]),
        (batch, ["silver"]),
        (batch, ["replay", "orders"]),
        (batch, ["forget-deletes", "orders", "--before", "2026-11-01"]),
        (batch, ["compact"]),
    ],
)
def test_while_a_night_runs_nothing_else_writes_silver(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, command: Command, arguments: list[str]
) -> None:
    monkeypatch.setattr(session, "build_session", lambda *_: None)
    monkeypatch.setattr("lakehouse.delta_io.exists", lambda *_: False)
    with lease.hold(night_step.LEASE, settings):
        refused = CliRunner().invoke(command, arguments, obj=settings)
    assert isinstance(refused.exception, LeaseHeld)
    assert "Try again when it has ended" in str(refused.exception)
    assert list((settings.home / "warehouse").iterdir()) == [settings.home / "warehouse" / lease.FOLDER]
