"""Steps that share a driver run in order, and the first that fails is the last."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from lakehouse import lease, night_step, pushed_metrics
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


def test_a_full_disk_is_one_sentence_for_those_who_follow_the_output(ran: list[str]) -> None:
    def fails() -> int:
        raise RuntimeError("Job aborted.\n\tat x.y(z)\nCaused by: java.io.IOException: No space left on device")

    with pytest.raises(SystemExit, match=r"^lakehouse: A disk is full \(No space left on device\): .*Free some space"):
        night_step.main({"silver": fails, "gold": lambda: 0})  # type: ignore[dict-item, misc]
    assert ran == ["silver"]


def test_trouble_that_has_no_sentence_keeps_its_stack_trace(ran: list[str]) -> None:
    def fails() -> int:
        raise RuntimeError("java.lang.OutOfMemoryError")

    with pytest.raises(RuntimeError, match="OutOfMemoryError"):
        night_step.main({"silver": fails, "gold": lambda: 0})  # type: ignore[dict-item, misc]


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


def test_a_step_whose_spark_died_says_what_it_ran_into_and_is_pushed_as_failed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[tuple[str, bool]] = []
    monkeypatch.setattr(pushed_metrics, "push_run", lambda _, name, *__, succeeded: pushed.append((name, succeeded)))

    class DeadSpark:
        def stop(self) -> None:
            return

        def createDataFrame(self, *_: Any) -> Any:  # noqa: N802
            raise ConnectionError("the session was stopped")

    def fails(*_: Any) -> int:
        raise StepFailed("x")

    spark: Any = DeadSpark()
    with pytest.raises(StepFailed, match=r"^x$"):
        night_step.run_steps(spark, settings, {"gold": fails}, date(2026, 11, 23), "night-1")
    # A step that did its work and could not say so is no success.
    with pytest.raises(ConnectionError):
        night_step.run_steps(spark, settings, {"gold": lambda *_: 7}, date(2026, 11, 23), "night-1")
    assert pushed == [("night_gold", False), ("night_gold", False)]
