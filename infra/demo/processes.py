"""Our own long-running commands as child processes: started in sessions of their own, stopped by their ids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.local.processes import PidFile
from infra.local.processes import stop as stop_recorded
from lakehouse.errors import LakehouseError, StepFailed
from lakehouse.settings import Settings

STOP_SECONDS = 45.0
POLL_SECONDS = 0.5


class ChildDied(LakehouseError):
    """A process that the demo needs ended by itself."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        # Its own sentence where it has one, else what it said last.
        told = [line for line in lines if line.startswith("lakehouse: ")][-1:] or lines[-3:]
        super().__init__(f"{name} ended with code {code} (log: {log}):\n" + "\n".join(told))


@dataclass
class Child:
    """One `lakehouse` command that runs beside us, writing to a log of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    record: PidFile

    def wait_for(self, has_happened: Callable[[], bool], seconds: float) -> None:
        """Return when something is true. Raises `ChildDied` when the process ends first, `LakehouseError` after
        the time.
        """
        deadline = time.monotonic() + seconds
        while not has_happened():
            if (code := self.process.poll()) is not None:
                raise ChildDied(self.name, code, self.log)
            if time.monotonic() > deadline:
                raise LakehouseError(f"{self.name} was not ready within {seconds:.0f} s; see {self.log}.")
            time.sleep(POLL_SECONDS)

    def has_said(self, words: str) -> bool:
        """Whether its log holds these words."""
        return words in self.log.read_text(errors="replace")

    def stop(self) -> None:
        """Ask it to end; end its whole session when it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            _wait_or_kill(self.process)
        self.record.forget()


def start(settings: Settings, name: str, *arguments: str, **variables: str) -> Child:
    """Start `lakehouse ARGUMENTS` with its output in `<home>/logs/<name>.log`, which begins anew.

    `variables` are added to its environment where the caller's does not set them.

    One that a demo left behind when it was killed outright is stopped first.
    """
    log = settings.home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    record = PidFile(settings.home / "stack" / "pids" / f"demo-{name}.json")
    stop_recorded(record, signal.SIGTERM, STOP_SECONDS)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(*arguments),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=variables | environment(settings.home),
            start_new_session=True,
        )
    record.write(process.pid)
    return Child(name, process, log, record)


def call(home: Path, *arguments: str, limits: str = "") -> None:
    """Run `lakehouse ARGUMENTS` to its end, with its output in ours. Raises `StepFailed`.

    Interrupted, it passes the interrupt on and waits: the command must be given the time to stop what it started. In a
    session of its own, so that Ctrl-C in a terminal does not reach it twice.
    """
    variables = environment(home) | ({"LAKEHOUSE_QUALITY_LIMITS": limits} if limits else {})
    process = subprocess.Popen(command(*arguments), env=variables, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        _wait_or_kill(process)
        raise
    if code:
        raise StepFailed(f"`lakehouse {' '.join(arguments)}` ended with code {code}; its own lines above say why.")


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def command(*arguments: str) -> list[str]:
    """The command line of the front door, in the environment that runs now."""
    return [sys.executable, "-m", "lakehouse.cli", *arguments]


def environment(home: Path) -> dict[str, str]:
    """This process's environment, pointed at a home."""
    return os.environ | {"LAKEHOUSE_HOME": str(home)}
