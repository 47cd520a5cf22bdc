"""Processes that outlive the command that started them, known by a pid file that a recycled pid can't fool."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Launch:
    """How to start one process: command, environment on top of a bare one, and folder to run in."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


def identity(pid: int) -> str | None:
    """What tells this process from any other that ever had or will have its pid; None when it does not live.

    On Linux boot and start tick, which a changed clock does not move; elsewhere the start time.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
            return f"{boot}:{stat.read_text('utf-8', 'replace').rpartition(')')[2].split()[19]}"
        return str(process.create_time())
    except (psutil.Error, OSError):
        return None


@dataclass(frozen=True)
class PidFile:
    """The record of one started process: its pid and what tells it from a later process with the same pid."""

    path: Path

    def write(self, pid: int) -> None:
        """Record a process that was just started; readable as a whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps({"pid": pid, "identity": identity(pid)}), "utf-8")
        fresh.replace(self.path)

    def living_pid(self) -> int | None:
        """The pid, if the very process that was recorded still lives; else None."""
        try:
            recorded = json.loads(self.path.read_text("utf-8"))
            pid, known = int(recorded["pid"]), recorded["identity"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return pid if known and identity(pid) == known else None

    def age_seconds(self) -> float:
        """Seconds since the process was recorded; 0 when none is."""
        try:
            return max(0.0, time.time() - self.path.stat().st_mtime)
        except OSError:
            return 0.0

    def forget(self) -> None:
        """Remove the record."""
        self.path.unlink(missing_ok=True)


def environment_of(launch: Launch) -> dict[str, str]:
    """What the process sees: nothing of the caller's environment but where programs and places are, and its own."""
    kept = ("PATH", "JAVA_HOME", "HOME", "LANG", "TZ", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict(launch.environment)


def start(launch: Launch, log: Path, pid_file: PidFile) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own (Ctrl-C in the terminal does not reach it), its output added to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(launch.command),
            cwd=launch.folder,
            env=environment_of(launch),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    pid_file.write(process.pid)
    return process


def stop(pid_file: PidFile, first_signal: signal.Signals, patience_seconds: float) -> bool:
    """End the recorded process and its children: asked first, killed when it has not ended after `patience_seconds`.

    Returns whether there was something to stop. A pid that now belongs to another process is left alone.
    """
    pid = pid_file.living_pid()
    if pid is None:
        pid_file.forget()
        return False
    family = family_of(pid)
    _signal(family[:1], first_signal)
    if not _gone_within(family, patience_seconds):
        _signal(family, signal.SIGKILL)
        _gone_within(family, 10.0)
    pid_file.forget()
    return True


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it; empty when it does not live."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def memory_bytes(pid: int) -> int:
    """Memory of a process and its descendants, shared pages counted once where the system tells (PSS), else RSS."""
    total = 0
    for process in family_of(pid):
        with contextlib.suppress(psutil.Error):
            full = process.memory_full_info()
            total += int(getattr(full, "pss", full.rss))
    return total


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _gone_within(processes: Sequence[psutil.Process], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(_lives(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _lives(process: psutil.Process) -> bool:
    """Whether a process still runs; one that ended but was not yet collected by its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
