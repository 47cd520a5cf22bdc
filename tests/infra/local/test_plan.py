"""A home's plan: kept, private, and different from any other home's."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.plan import make_plan, read_plan, wanted_ports
from infra.local.stack import erase, state_folders
from lakehouse.settings import load_settings


def test_the_settings_are_read_from_what_the_stack_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKEHOUSE_POSTGRES_PORT", raising=False)
    plan = make_plan(tmp_path, wanted_ports("31000"))
    plan.write()
    settings = load_settings(home=tmp_path)
    assert settings.postgres_port == 31432
    assert settings.postgres_password.get_secret_value() == plan.secrets["postgres_app"]
    assert read_plan(tmp_path) == plan
    erase(tmp_path)


def test_two_homes_share_no_secret(tmp_path: Path) -> None:
    first, second = (make_plan(tmp_path / name, wanted_ports(None)) for name in ("one", "two"))
    assert not set(first.secrets.values()) & set(second.secrets.values())
    for plan in (first, second):
        plan.write()
        erase(plan.home)


def test_reset_deletes_the_folders_of_the_lakehouse_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "holiday-pictures").mkdir()
    assert state_folders(tmp_path) == [tmp_path / "warehouse"]
    erase(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday-pictures"]
