"""Commands about rejected rows: list, show, replay, discard. The last two ask the owner of the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lakehouse.acting_user import acting_user
from lakehouse.settings import Settings
from lakehouse.tables import STREAMS, UNMERGED

if TYPE_CHECKING:
    from streaming.quarantine_requests import Kind


@click.group()
def quarantine() -> None:
    """Rejected rows: how many, why, their original bytes; send them through again, or discard them."""


@quarantine.command("list")
@click.pass_obj
def list_rows(settings: Settings) -> None:
    """Print rejected rows by stream and reason: open, replayed, discarded."""
    from streaming.inspection import quarantine_lines

    for line in quarantine_lines(settings):
        click.echo(line)


@quarantine.command("show")
@click.argument("quarantine_id")
@click.pass_obj
def show_row(settings: Settings, quarantine_id: str) -> None:
    """Print one rejected row: where it stands, each attempt, origin and original bytes."""
    from streaming.inspection import rejected_row

    for line in rejected_row(settings, quarantine_id):
        click.echo(line)


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose rows; all of them must hold."""
    where = "COLUMN OP VALUE, such as 'offset>=100'; may be given several times."
    for option in (
        click.option("--where", multiple=True, metavar="CONDITION", help=where),
        click.option("--reason", help="Only rows that have this reason now."),
        click.option("--stream", type=click.Choice([*STREAMS, *UNMERGED]), help="Only rows of this stream."),
        click.argument("ids", nargs=-1),
    ):
        command = option(command)
    return command


@quarantine.command()
@_selecting
@click.option("--dry-run", is_flag=True, help="Say what would become of each row, and write nothing.")
@click.pass_obj
def replay(settings: Settings, /, dry_run: bool, **chosen: Any) -> None:
    """Send open rows through their stream again; good ones land in Bronze, once. Exit code 1 when nothing was done."""
    _ask(settings, "replay", is_dry_run=dry_run, **chosen)


@quarantine.command()
@_selecting
@click.option("--why", required=True, help="Kept with each row.")
@click.pass_obj
def discard(settings: Settings, /, why: str, **chosen: Any) -> None:
    """Give open rows up, for a reason. They stay in the quarantine, and count as discarded."""
    if not why.strip():
        raise click.UsageError("--why must say something.")
    if not any(chosen.values()):
        raise click.UsageError("Say which rows: ids, --stream, --reason or --where.")
    _ask(settings, "discard", why=why, **chosen)


def _ask(settings: Settings, kind: Kind, stream: str | None, reason: str | None, **options: Any) -> None:
    from streaming import quarantine_counter

    conditions = (*options.pop("where"), *([f"reason={reason}"] if reason else []))
    lines = quarantine_counter.ask(
        settings, kind, ids=options.pop("ids"), where=conditions, stream=stream, requested_by=acting_user(), **options
    )
    for line in lines:
        click.echo(line)
