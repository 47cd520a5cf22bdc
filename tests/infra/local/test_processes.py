"""A pid file knows its process, and never another one that came to have the same pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.local.processes import Launch, PidFile, identity, start, stop

WAIT = "import time; print('here', flush=True); time.sleep(60)"


def started(tmp_path: Path, code: str = WAIT) -> tuple[PidFile, subprocess.Popen[bytes]]:
    record = PidFile(tmp_path / "pids" / "one.json")
    launch = Launch([sys.executable, "-c", code], tmp_path, {"ONE": "1"})
    return record, start(launch, tmp_path / "logs" / "one.log", record)


def test_a_started_process_is_known_until_it_is_stopped(tmp_path: Path) -> None:
    record, process = started(tmp_path)
    assert record.living_pid() == process.pid
    assert stop(record, signal.SIGTERM, 5.0)
    assert record.living_pid() is None
    assert process.wait(5) == -signal.SIGTERM


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    record, process = started(tmp_path, code)
    log = tmp_path / "logs" / "one.log"
    while not log.read_text():
        assert process.poll() is None
    stop(record, signal.SIGTERM, 0.2)
    assert process.wait(5) == -signal.SIGKILL


def test_a_recycled_pid_is_never_signalled(tmp_path: Path) -> None:
    innocent = subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.DEVNULL)
    record = PidFile(tmp_path / "one.json")
    record.path.write_text(json.dumps({"pid": innocent.pid, "identity": "another boot:1"}))
    assert record.living_pid() is None
    assert not stop(record, signal.SIGKILL, 1.0)
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_a_process_that_ended_but_was_not_collected_does_not_live() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    ended = psutil.Process(process.pid)
    while ended.status() != psutil.STATUS_ZOMBIE:
        assert process.returncode is None
    assert identity(process.pid) is None
    process.wait()


def test_a_torn_or_missing_record_means_not_running(tmp_path: Path) -> None:
    record = PidFile(tmp_path / "one.json")
    assert record.living_pid() is None
    record.path.write_text('{"pid": 12')
    assert record.living_pid() is None


def test_a_started_process_has_a_session_of_its_own_and_a_bare_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_POSTGRES_PASSWORD", "secret")
    record, process = started(tmp_path)
    assert os.getsid(process.pid) == process.pid
    assert "LAKEHOUSE_POSTGRES_PASSWORD" not in psutil.Process(process.pid).environ()
    stop(record, signal.SIGKILL, 5.0)
    process.wait()
