"""A demo that is killed in the middle leaves nothing of its own running, and touches nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.demo import killed, processes
from infra.local.processes import Launch, PidFile, start

STAYS = [sys.executable, "-c", "import time; time.sleep(600)"]
DEMO = """
import subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("a night in a session of its own:", inner.pid, flush=True)
print("now", flush=True)
time.sleep(600)
"""


def demo(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(processes, "command", lambda *_: [sys.executable, "-c", script])


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_the_demo_its_night_and_the_services_of_its_home_are_killed_and_no_one_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    demo(monkeypatch, DEMO)
    record = PidFile(tmp_path / "stack" / "pids" / "kafka.json")
    service = start(Launch(STAYS, tmp_path, {}), tmp_path / "logs" / "kafka.log", record)
    stranger = subprocess.Popen(STAYS)
    try:
        names = killed.kill_at(tmp_path, "now")
        night = int(capfd.readouterr().out.splitlines()[0].split()[-1])
        assert len(names) == 3
        assert not lives(night)
        assert not lives(service.pid)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_demo_that_ends_before_its_moment_is_told_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(killed.NeverCame, match=r"ended with code 3 and never said 'now'"):
        killed.kill_at(tmp_path, "now")


def test_an_interrupt_waits_until_the_demo_has_stopped_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script = """
import os, signal, time
try:
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(600)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    demo(monkeypatch, script)
    with pytest.raises(KeyboardInterrupt):
        killed.kill_at(tmp_path, "now")
    assert "stopped" in capfd.readouterr().out
