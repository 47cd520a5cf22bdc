"""`make demo-killed`: a demo and its stack are killed in the middle (kill -9), and the next demo must end green.

Nothing is given the time to end well: neither the shop and the streams nor Kafka, Postgres and the others. Only
processes that this home's records name, or that descend from the demo, are killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import psutil

from infra.demo import processes
from infra.local.processes import PidFile, family_of
from lakehouse.errors import LakehouseError
from lakehouse.settings import load_settings

GONE_SECONDS = 30.0


class NeverCame(LakehouseError):
    """The demo ended before the moment at which it was to be killed."""

    def __init__(self, moment: str, code: int) -> None:
        super().__init__(f"The demo ended with code {code} and never said {moment!r}: nothing was killed.")


@click.command()
@click.option("--at", "moment", default="moments of live trade", show_default=True, help="Words of the demo's output.")
def main(moment: str) -> None:
    """Kill everything when a demo says MOMENT, run it again, and end with its exit code."""
    home = load_settings().home
    try:
        killed = kill_at(home, moment)
    except LakehouseError as error:
        raise click.ClickException(str(error)) from None
    click.secho(f"\nkill -9 of {len(killed)} processes: {', '.join(sorted(set(killed)))}. The same again:", bold=True)
    again = processes.command("demo")
    # In the place of this process, so that its exit code counts and Ctrl-C is its own.
    os.execve(again[0], again, processes.environment(home))


def kill_at(home: Path, moment: str) -> list[str]:
    """Run a demo until it says `moment`, then kill it and all that it started. Returns the names of the processes.

    Raises `NeverCame` when it ends before. Interrupted, it passes the interrupt on: the demo stops what it started.
    """
    with subprocess.Popen(
        processes.command("demo"),
        env=processes.environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        try:
            if any(moment in line for line in _shown(demo.stdout)):
                return kill(all_of(home, demo.pid))
        except KeyboardInterrupt:
            demo.send_signal(signal.SIGINT)
            # What it says while it stops: without a reader it could not go on.
            list(_shown(demo.stdout))
            raise
    raise NeverCame(moment, demo.returncode)


def _shown(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        click.echo(line, nl=False)
        yield line


def all_of(home: Path, demo: int) -> list[psutil.Process]:
    """The demo, what it runs, its streams and notifier, and the services of its stack, with all their descendants."""
    records = (PidFile(path) for path in (home / "stack" / "pids").glob("*.json"))
    pids = [demo, *(pid for record in records if (pid := record.living_pid()))]
    return list({process.pid: process for pid in pids for process in family_of(pid)}.values())


def kill(doomed: list[psutil.Process]) -> list[str]:
    """Kill these processes, and wait until they are gone. Returns their names."""
    names = []
    for process in doomed:
        # One may follow another that was killed before its own turn comes.
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(process.name())
            process.kill()
    psutil.wait_procs(doomed, GONE_SECONDS)
    return names


if __name__ == "__main__":
    main()
