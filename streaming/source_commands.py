"""Commands about the captured source: how it stands, and what to do about changes that it never sent."""

from __future__ import annotations

import click

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings


class SourceNeedsOperator(LakehouseError):
    """A part of the way from Postgres to Bronze does not work, or soon will not."""

    def __init__(self, parts: list[str]) -> None:
        super().__init__(f"{', '.join(parts)}: an operator has to act, as the lines above say.")


@click.group()
def source() -> None:
    """The captured database: slot, connector, incarnation, heartbeat, gaps."""


@source.command()
@click.pass_obj
def status(settings: Settings) -> None:
    """Say how each part stands; exit code 1 when an operator has to act, with the cure."""
    from streaming import source_status

    wrong = []
    for finding in source_status.findings(settings):
        click.secho(str(finding), fg="red" if finding.cure else None)
        wrong += [finding.part] if finding.cure else []
    if wrong:
        raise SourceNeedsOperator(wrong)


@source.command("accept-gap")
@click.option("--reason", required=True, help="What happened, and what was done about the missing changes. Recorded.")
@click.pass_obj
def accept_gap(settings: Settings, reason: str) -> None:
    """Record that the gaps of now are known and cared for, so that the night goes on behind them."""
    from lakehouse.acting_user import acting_user
    from lakehouse.session import build_session
    from streaming import source_gaps

    if not reason.strip():
        raise click.UsageError("--reason must say something.")
    if not source_gaps.still_open(settings):
        click.echo("There is no gap that nobody accepted.")
        return
    spark = build_session(settings, "lakehouse-source-gaps")
    for gap in source_gaps.accept(spark, settings, reason, acting_user()):
        click.echo(f"accepted: {gap}")
