"""Commands about the objects of the landing bucket: reconcile a day, move notifications from SQS."""

from __future__ import annotations

from datetime import datetime

import click

from lakehouse import stop_signals
from lakehouse.settings import Settings


@click.group()
def clicks() -> None:
    """The objects of the landing bucket."""


@clicks.command()
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), required=True, help="UTC day of the object keys.")
@click.pass_obj
def reconcile(settings: Settings, day: datetime) -> None:
    """List a day's objects, compare them with what Bronze holds, and announce what was missed."""
    from streaming import object_reconciliation

    found = object_reconciliation.reconcile(settings, [day.date()])
    click.echo(
        f"{day:%Y-%m-%d}: {found.listed} objects listed, {found.known} known, {found.announced} announced", nl=False
    )
    click.echo(f", {found.incomplete} still being written")


@click.group()
def notifications() -> None:
    """How the stream of clicks hears of new objects."""


@notifications.command()
@click.option("--queue", required=True, help="URL of the queue that the bucket's event notifications go to.")
@click.option("--until-empty", is_flag=True, help="End when the queue is empty.")
@click.pass_obj
def sqs(settings: Settings, queue: str, until_empty: bool) -> None:
    """Move S3's event messages from an SQS queue to the notifications topic; for ever, or until it is empty."""
    from streaming.sqs_bridge import SqsBridge

    with stop_signals.as_event() as stopping:
        moved = SqsBridge(settings, queue).run(stopping, until_empty)
    click.echo(f"{moved} notifications moved")
