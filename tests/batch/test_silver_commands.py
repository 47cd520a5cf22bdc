"""Commands that write Silver: which tables they make, and that they do not run beside a night, which builds Gold from
the Silver that it compared.
"""

from __future__ import annotations

import pytest
from click import Command
from click.testing import CliRunner

from batch import captured_tables, clicks, inventory_levels, sessions
from batch.commands import batch
from batch.reconcile_commands import reconcile
from lakehouse import lease, night_step, session
from lakehouse.errors import LeaseHeld
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, CLICK_KEYS, SILVER, SILVER_CAPTURED


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


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The Silver tables that a command makes, in order; nothing is read or written."""
    tables: list[str] = []
    monkeypatch.setattr(session, "build_session", lambda *_: None)
    monkeypatch.setattr("lakehouse.delta_io.exists", lambda *_: True)
    monkeypatch.setattr(captured_tables, "run", lambda *given: tables.append(given[-1].silver.name))
    for module, name in ((inventory_levels, "inventory_levels"), (clicks, "clicks"), (sessions, "sessions")):
        monkeypatch.setattr(module, "run", lambda *_, name=name: tables.append(f"silver.{name}"))
    return tables


def test_without_names_every_table_of_silver_is_made_in_the_order_of_the_night(
    settings: Settings, made: list[str]
) -> None:
    CliRunner().invoke(batch, ["silver"], obj=settings, catch_exceptions=False)
    assert made[-3:] == ["silver.inventory_levels", "silver.clicks", "silver.sessions"]
    # History and memory of deletes come with their table, the click keys with the clicks.
    beside = {spec.name for table in SILVER_CAPTURED for spec in table.merged} | {CLICK_KEYS.name}
    alone = {table.silver.name for table in SILVER_CAPTURED}
    assert sorted(made) == sorted({spec.name for spec in SILVER} - beside | alone)


def test_without_names_a_table_is_passed_over_whose_stream_never_ran(
    settings: Settings, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakehouse.delta_io.exists", lambda _, spec, __: spec is not CLICK_EVENTS)
    told = CliRunner().invoke(batch, ["silver"], obj=settings, catch_exceptions=False).output
    assert made[-1] == "silver.inventory_levels"
    passed_over = [line.split(":")[0] for line in told.splitlines() if "passed over" in line]
    assert passed_over == ["silver.clicks", "silver.sessions"]


def test_with_names_only_those_tables_are_made_and_visits_after_their_clicks(
    settings: Settings, made: list[str]
) -> None:
    CliRunner().invoke(batch, ["silver", "sessions", "clicks", "orders"], obj=settings, catch_exceptions=False)
    assert made == ["silver.orders", "silver.clicks", "silver.sessions"]
