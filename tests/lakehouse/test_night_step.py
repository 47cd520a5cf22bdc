"""Steps that share a driver run in order, and the first that fails is the last."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from lakehouse import night_step
from lakehouse.errors import StepFailed

ARGUMENTS = ["night.py", "silver", "gold", "--business-date", "2026-11-23", "--run-id", "night-1"]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that were run; `run_step` itself is seen working by the tests of the whole way."""
    names: list[str] = []

    def run_step(spark: Any, settings: Any, name: str, step: Any, *_: Any) -> None:
        names.append(name)
        step()

    monkeypatch.setattr(sys, "argv", ARGUMENTS)
    monkeypatch.setattr(night_step, "build_session", lambda settings, name: name)
    monkeypatch.setattr(night_step, "run_step", run_step)
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
