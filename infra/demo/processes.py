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

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings

STOP_SECONDS = 45.0
POLL_SECONDS = 0.5


class ChildDied(LakehouseError):
    """A process that the demo needs ended by itself."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-3:]
        super().__init__(f"{name} ended with code {code}. Its last lines ({log}):\n" + "\n".join(last))


@dataclass
class Child:
    """One `lakehouse` command that runs beside us, writing to a log of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

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
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def start(settings: Settings, name: str, *arguments: str) -> Child:
    """Start `lakehouse ARGUMENTS` with its output in `<home>/logs/<name>.log`, which begins anew."""
    log = settings.home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(*arguments),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(settings),
            start_new_session=True,
        )
    return Child(name, process, log)


def command(*arguments: str) -> list[str]:
    """The command line of the front door, in the environment that runs now."""
    return [sys.executable, "-m", "lakehouse.cli", *arguments]


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment, pointed at the same home."""
    return os.environ | {"LAKEHOUSE_HOME": str(settings.home)}
