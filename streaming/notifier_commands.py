"""`lakehouse notify`: the process that carries alerts to Slack."""

from __future__ import annotations

import click

from lakehouse import stop_signals
from lakehouse.settings import Settings
from streaming.notifier import run


@click.command()
@click.option("--until-caught-up", is_flag=True, help="End when every alert that is there has been sent.")
@click.option("--resend", is_flag=True, help="First send again the alerts that Slack refused.")
@click.pass_obj
def notify(settings: Settings, until_caught_up: bool, resend: bool) -> None:
    """Send each low-stock alert to Slack once. Needs no Spark; stop it with Ctrl-C or SIGTERM."""
    with stop_signals.as_event() as stop:
        counts = run(settings, stop, until_caught_up, resend)
    click.echo(f"{counts['sent']} sent, {counts['rejected']} refused, {counts['skipped']} skipped (no webhook)")
