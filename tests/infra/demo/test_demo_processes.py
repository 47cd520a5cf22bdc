"""What a demo starts ends with it: after an interrupt, and after a demo that was killed outright."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from infra.demo import processes
from lakehouse.errors import StepFailed
from lakehouse.settings import Settings

LIMIT_SECONDS = 30.0
CLEANS_UP = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
try:
    (folder / "ready").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)  # longer than subprocess.run would wait before it kills
    (folder / "cleaned up").touch()
    sys.exit(130)
"""


def command(script: str) -> object:
    return lambda *arguments: [sys.executable, "-c", script, *arguments]


def interrupt_when(there: Path) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not there.exists() and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    if there.exists():
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_until_the_command_has_stopped_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "command", command(CLEANS_UP))
    threading.Thread(target=interrupt_when, args=(tmp_path / "ready",)).start()
    with pytest.raises(KeyboardInterrupt):
        processes.call(tmp_path, str(tmp_path))
    assert (tmp_path / "cleaned up").exists()


def test_a_command_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "command", command("raise SystemExit(3)"))
    with pytest.raises(StepFailed, match=r"`lakehouse night run` ended with code 3"):
        processes.call(tmp_path, "night", "run")


def test_what_a_killed_demo_left_running_is_stopped_before_it_is_started_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "command", command("import time; time.sleep(60)"))
    left = processes.start(settings, "streams")
    again = processes.start(settings, "streams")
    try:
        assert left.process.wait(LIMIT_SECONDS) == -signal.SIGTERM
        assert again.process.poll() is None
    finally:
        again.stop()
    assert not psutil.pid_exists(again.process.pid)


def test_a_child_that_died_is_told_by_its_own_sentence(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "print('WARN noise'); print('lakehouse: The cellar is full.'); print('more noise'); raise SystemExit(1)"
    monkeypatch.setattr(processes, "command", command(script))
    child = processes.start(settings, "streams")
    with pytest.raises(
        processes.ChildDied, match=r"streams ended with code 1 \(log: .*\):\nlakehouse: The cellar is full\.$"
    ):
        child.wait_for(lambda: False, LIMIT_SECONDS)
