"""`lakehouse break poison | kill | duplicate | trim | registry-down | late-file`."""

from __future__ import annotations

import importlib

import click

from lakehouse import stop_signals
from lakehouse.settings import Settings


def _run(settings: Settings, module: str) -> None:
    from infra.breakage.ground import stand_on

    # What was stopped is started again.
    with stop_signals.as_interrupt():
        importlib.import_module(f"infra.breakage.{module}").run(stand_on(settings, click.echo))
    click.secho("The promise held.", fg="green")


@click.group("break")
def break_it() -> None:
    """Damage the running embedded stack, and see what it does; exit code 0 only if its promise held."""


@break_it.command()
@click.pass_obj
def poison(settings: Settings) -> None:
    """Send bad stock events of ten kinds between good ones."""
    _run(settings, "poison")


@break_it.command()
@click.pass_obj
def kill(settings: Settings) -> None:
    """Kill the stream (kill -9) in full flow."""
    _run(settings, "kill")


@break_it.command()
@click.pass_obj
def duplicate(settings: Settings) -> None:
    """Deliver stock events and a click object twice."""
    _run(settings, "duplicate")


@break_it.command()
@click.pass_obj
def trim(settings: Settings) -> None:
    """Delete records that the stream has not read."""
    _run(settings, "trim")


@break_it.command("registry-down")
@click.pass_obj
def registry_down(settings: Settings) -> None:
    """Stop the schema registry under the stream."""
    _run(settings, "registry_down")


@break_it.command("late-file")
@click.pass_obj
def late_file(settings: Settings) -> None:
    """Put a click object behind the newest key."""
    _run(settings, "late_file")
