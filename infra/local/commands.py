"""`lakehouse up | down | status | reset | logs`: the embedded stack at the front door."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from pathlib import Path

import click

from infra.local import stack
from infra.local.connector import configuration
from infra.local.errors import NoSuchService
from lakehouse import stop_signals
from lakehouse.settings import Settings


def _say(line: str) -> None:
    click.echo(line)


@click.command()
@click.option("--ports", envvar="LAKEHOUSE_PORT_BASE", help="'free', or the first number of a block of ports.")
@click.pass_obj
def up(settings: Settings, ports: str | None) -> None:
    """Start the embedded stack; what already runs is left alone."""
    if ports is not None and ports != "free" and not (ports.isdigit() and 1024 <= int(ports) <= 65000):
        raise click.BadParameter(f"{ports!r} is neither 'free' nor a number from 1024 to 65000", param_hint="--ports")
    began = time.monotonic()
    with stop_signals.as_interrupt():
        plan = stack.up(settings.home, ports, _say)
    click.echo(f"The stack is up after {time.monotonic() - began:.0f} s; its addresses are in {plan.env_file}.")


@click.command()
@click.pass_obj
def down(settings: Settings) -> None:
    """Stop the embedded stack and keep its data."""
    stack.down(settings.home, _say)
    click.echo("The stack is down.")


@click.command()
@click.pass_obj
def status(settings: Settings) -> None:
    """Show what runs: process, port, memory, health. Exit code 1 unless all is healthy."""
    lines = stack.status(settings.home)
    if not lines:
        click.echo(f"No stack was started in {settings.home} yet: `lakehouse up` starts one.")
        sys.exit(1)
    click.echo(f"{'service':<12} {'pid':>8} {'port':>6} {'memory':>9}  health")
    for one in lines:
        health = "healthy" if one.is_healthy else ("does not answer" if one.pid else "stopped")
        memory = f"{one.memory / 2**20:,.0f} MiB" if one.pid else "-"
        click.echo(f"{one.name:<12} {one.pid or '-':>8} {one.port:>6} {memory:>9}  {health}")
    click.echo(f"{'together':<12} {'':>8} {'':>6} {sum(one.memory for one in lines) / 2**20:,.0f} MiB")
    sys.exit(0 if all(one.is_healthy for one in lines) else 1)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def reset(settings: Settings, yes: bool) -> None:
    """Stop the stack and delete everything this home holds: tables, checkpoints, topics, database."""
    doomed = stack.state_folders(settings.home)
    if not doomed:
        click.echo(f"There is nothing to delete in {settings.home}.")
        return
    if not yes:
        click.echo("This deletes:\n" + "\n".join(f"  {path}" for path in doomed))
        click.confirm("Delete them?", abort=True)
    stack.erase(settings.home, _say)
    click.echo(f"{settings.home} is as new.")


@click.command()
@click.argument("name")
@click.option("--lines", default=50, show_default=True, help="How many of the last lines.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.pass_obj
def logs(settings: Settings, name: str, lines: int, follow: bool) -> None:
    """Show the end of a service's log."""
    folder = settings.home / "logs"
    path = folder / f"{name}.log"
    if not path.is_file():
        known = sorted(one.stem for one in folder.glob("*.log")) or [service.name for service in stack.SERVICES]
        raise NoSuchService(name, known)
    _show(path, lines, follow)


def _show(path: Path, lines: int, follow: bool) -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        click.echo("".join(deque(file, maxlen=lines)), nl=False)
        while follow:
            added = file.read()
            click.echo(added, nl=False)
            if not added:
                time.sleep(0.2)


@click.command()
@click.argument("optional", nargs=-1, metavar="[VARIABLE]...")
@click.option(
    "--incarnation", required=True, help="<system identifier>/<timeline> of the source; each change carries it."
)
def connector(optional: tuple[str, ...], incarnation: str) -> None:
    """Print the source connector's configuration for a Kafka Connect of your own, to be put to its REST interface.

    VARIABLE: what the worker's environment holds for TLS and credentials, such as SOURCE_SSLROOTCERT. Settings of
    infra/debezium/connector.json for which it holds nothing are left out.
    """
    click.echo(json.dumps(configuration(incarnation, optional), indent=2))
