"""One night on this machine: `airflow dags test` of the real DAG, watched line by line, ended as a whole.

Airflow runs in a session of its own, whose number is kept in a file: Ctrl-C ends the whole session, and a night whose
command was killed outright is ended by the next one before it starts.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO

from lakehouse import stop_signals
from lakehouse.errors import LakehouseError
from lakehouse.lease import hold
from lakehouse.settings import PREFIX, Settings
from lakehouse.spark_conf import night_conf
from orchestration import airflow_home, processes
from orchestration.causes import cause_of, readers_see
from orchestration.spark_properties import properties_file, write_properties

DAG_ID = "lakehouse_nightly"
SESSION_FILE = "night.session"
KEPT_LINES = 400

TASK_STARTS = re.compile(r"\[DAG TEST\] starting task_id=(?P<task>\w+)")
TASK_ENDS = re.compile(r"\[DAG TEST\] end task task_id=(?P<task>\w+)")
NEW_STATE = re.compile(r"new_state=(?P<state>\w+)")
LOG_LINE = re.compile(r"^\S+Z \[\w+\s*\] (?P<text>.*?)\s+\[[\w.]+\](?: \w+=.*)?$")

Echo = Callable[[str], None]


class NightNotComplete(LakehouseError):
    """The night ended before everything was published and told."""

    def __init__(self, business_date: date, task: str, cause: str, log_file: Path) -> None:
        self.task = task
        super().__init__(
            f"The night of {business_date} failed in {task}: {cause.rstrip('.')}. "
            f"{readers_see(task)} It is safe to run again. The whole log: {log_file}"
        )


@dataclass
class Progress:
    """Follows the output of `airflow dags test`; says when a task starts and how it ended."""

    echo: Echo
    clock: Callable[[], float] = time.monotonic
    failed_task: str = ""
    cause: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    _task: str = ""
    _state: str = ""
    _started: float = 0.0
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    def read(self, line: str) -> None:
        """Take one line of output."""
        if match := TASK_STARTS.search(line):
            self._task, self._state, self._started = match["task"], "", self.clock()
            self._lines.clear()
            self.echo(f"  {self._task:<18} started")
        elif (match := TASK_ENDS.search(line)) and match["task"] == self._task:
            self._tell_end()
        elif match := NEW_STATE.search(line):
            self._state = match["state"]
        else:
            match = LOG_LINE.match(line)
            self._lines.append(match["text"] if match else line.rstrip("\n"))

    def last_cause(self) -> str:
        """The cause of the failure; for an end outside of any task, what was printed last."""
        return self.cause or cause_of("\n".join(self._lines))

    def _tell_end(self) -> None:
        seconds = self.clock() - self._started
        self.seconds[self._task] = seconds
        if self._state == "success":
            self.echo(f"  {self._task:<18} done in {seconds:.1f} s")
            return
        self.failed_task, self.cause = self._task, cause_of("\n".join(self._lines))
        again = ", will be tried again" if self._state == "up_for_retry" else ""
        self.echo(f"  {self._task:<18} failed after {seconds:.1f} s{again}: {self.cause}")


def configure(settings: Settings) -> Mapping[str, str]:
    """Write Spark's properties file and make Airflow's database; returns the variables that an Airflow needs."""
    write_properties(properties_file(settings), night_conf(settings))
    airflow_home.make_database(settings)
    return airflow_home.variables(settings)


def run(
    settings: Settings,
    business_date: date,
    echo: Echo,
    retry_seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Run the night of one business date; returns the seconds of each task.

    `retry_seconds`: another delay between tries than five minutes (the number of tries stays). `environment`: of the
    Airflow process, by default that of `airflow_home`. Raises `NightNotComplete`, and `LeaseHeld` when a night runs.
    """
    with hold("night", settings):
        _end_leftover(settings, echo)
        configure(settings)
        command = [sys.executable, "-m", "airflow", "dags", "test", DAG_ID]
        command += ["--conf", json.dumps({"business_date": business_date.isoformat()})]
        variables = dict(environment or airflow_home.environment(settings))
        if retry_seconds is not None:
            variables[airflow_home.RETRY_SECONDS_VARIABLE] = str(retry_seconds)
        log_file = settings.home / "logs" / f"night-{business_date}-{time.strftime('%Y%m%dT%H%M%S')}.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        echo(f"The night of {business_date} (log: {log_file})")
        echo("  airflow starts")
        progress = Progress(echo)
        with _own_session(settings, command, variables) as airflow, log_file.open("w", encoding="utf-8") as log:
            for line in _lines_of(airflow.stdout):
                log.write(line)
                log.flush()
                progress.read(line)
            code = airflow.wait()
    if code:
        raise NightNotComplete(business_date, progress.failed_task or "Airflow itself", progress.last_cause(), log_file)
    return progress.seconds


@contextmanager
def _own_session(settings: Settings, command: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        env=variables,
        cwd=airflow_home.airflow_home(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    session_file = airflow_home.airflow_home(settings) / SESSION_FILE
    session_file.write_text(str(process.pid), "utf-8")
    with stop_signals.as_interrupt():
        try:
            yield process
        finally:
            # Also after a good end: nothing of a night outlives it.
            processes.end(process.pid)
            process.wait()
            session_file.unlink(missing_ok=True)


def _lines_of(stream: IO[str] | None) -> Iterator[str]:
    assert stream is not None
    yield from stream


def _end_leftover(settings: Settings, echo: Echo) -> None:
    session_file = airflow_home.airflow_home(settings) / SESSION_FILE
    if not session_file.is_file():
        return
    session = session_file.read_text("utf-8").strip()
    ended = processes.end(int(session)) if session.isdigit() and _is_ours(int(session), settings) else 0
    if ended:
        echo(f"Ended {ended} processes of a night whose command was killed.")
    session_file.unlink(missing_ok=True)


def _is_ours(session: int, settings: Settings) -> bool:
    # After a reboot the number may belong to anybody: every process of a night carries our home in its environment.
    mark = f"{PREFIX}HOME={settings.home}".encode()
    return all(mark in _environ(process).split(b"\0") for process in processes.members(session))


def _environ(process: int) -> bytes:
    try:
        return (processes.PROC / str(process) / "environ").read_bytes()
    except OSError:
        return b""
