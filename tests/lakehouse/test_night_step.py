"""Steps that share a driver run in order, and the first that fails is the last."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from lakehouse import lease, night_step
from lakehouse.errors import StepFailed
from lakehouse.settings import Settings

ARGUMENTS = ["night.py", "silver", "gold", "--business-date", "2026-11-23", "--run-id", "night-1"]


@pytest.fixture
def ran(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that were run; `_run_step` itself is seen working by the tests of the whole way."""
    names: list[str] = []

    def run_step(spark: Any, settings: Any, name: str, step: Any, *_: Any) -> None:
        names.append(name)
        step()

    monkeypatch.setattr(sys, "argv", ARGUMENTS)
    monkeypatch.setattr(night_step, "build_session", lambda *_: SimpleNamespace(stop=lambda: None))
    monkeypatch.setattr(night_step, "load_settings", lambda: settings)
    monkeypatch.setattr(night_step, "_run_step", run_step)
    return names


def test_the_named_steps_run_one_after_the_other(ran: list[str]) -> None:
    night_step.main({"gold": lambda: 0, "silver": lambda: 0})  # type: ignore[dict-item, misc]
    assert ran == ["silver", "gold"]


def test_nothing_runs_after_a_step_that_failed(ran: list[str]) -> None:
    def fails() -> int:
        raise StepFailed("A check failed.")

    with pytest.raises(SystemExit, match=r"^lakehouse: A check failed\.$"):
        night_step.main({"silver": fails, "gold": lambda: 0})  # type: ignore[dict-item, misc]
    assert ran == ["silver"]


def test_no_other_gets_in_between_two_steps(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    hold = lease.hold

    @contextmanager
    def seen(name: str, *arguments: Any) -> Iterator[Any]:
        ran.append(f"{name} taken")
        with hold(name, *arguments) as held:
            yield held
        ran.append(f"{name} given back")

    monkeypatch.setattr(lease, "hold", seen)
    night_step.main({"gold": lambda: 0, "silver": lambda: 0})  # type: ignore[dict-item, misc]
    assert ran == ["night-steps taken", "silver", "gold", "night-steps given back"]


def test_who_may_not_run_beside_a_night_is_told_to_wait(settings: Settings) -> None:
    with (
        lease.hold(night_step.LEASE, settings),
        pytest.raises(night_step.SilverInUse, match=r"A step of a night .* runs .* Try again when it has ended"),
        night_step.alone(settings),
    ):
        pytest.fail("not alone")
