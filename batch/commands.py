"""Commands of the batch side: merge, rebuild and look after the Silver tables."""

from __future__ import annotations

from datetime import datetime

import click

from lakehouse.acting_user import acting_user
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, INVENTORY_EVENTS, SILVER_CAPTURED, CapturedTable

TABLES = {table.name: table for table in SILVER_CAPTURED}
TABLE = click.Choice(list(TABLES))
EVENT_TABLES = {
    "inventory_levels": (INVENTORY_EVENTS, "events merged"),
    "clicks": (CLICK_EVENTS, "events merged"),
    "sessions": (CLICK_EVENTS, "visits changed"),
}
"""Silver tables made of events, in the order of the night (visits are made of clicks): their Bronze, and what is
counted of each.
"""


class RebuildDiffers(LakehouseError):
    """A table is not what a fold of all of Bronze gives."""

    def __init__(self, tables: list[str]) -> None:
        super().__init__(
            f"{', '.join(tables)} differs from what Bronze gives. The table that was made anew lies beside it; "
            "`lakehouse reconcile` tells which of the two agrees with the source."
        )


@click.group()
def batch() -> None:
    """Bronze to Silver: merge what is new, rebuild, replay, forget old deletes, compact, vacuum."""


@batch.command()
@click.argument("tables", nargs=-1, type=click.Choice([*TABLES, *EVENT_TABLES]))
@click.pass_obj
def silver(settings: Settings, tables: tuple[str, ...]) -> None:
    """Merge what is new in Bronze into Silver (all tables, unless some are named); not beside a night."""
    from batch import captured_tables, clicks, inventory_levels, sessions
    from lakehouse import delta_io, night_step
    from lakehouse.session import build_session

    of_events = {"inventory_levels": inventory_levels.run, "clicks": clicks.run, "sessions": sessions.run}
    with night_step.alone(settings):
        spark = build_session(settings, "lakehouse-silver")
        for name, table in TABLES.items():
            if name in (tables or TABLES):
                click.echo(f"{table.silver.name}: {captured_tables.run(spark, settings, table)} changes merged")
        for name, (bronze, counted) in EVENT_TABLES.items():
            if not tables and not delta_io.exists(spark, bronze, settings):
                click.echo(f"silver.{name}: passed over, no stream has written {bronze.name} yet")
            elif name in (tables or EVENT_TABLES):
                click.echo(f"silver.{name}: {of_events[name](spark, settings)} {counted}")


@batch.command()
@click.argument("table", type=TABLE)
@click.pass_obj
def rebuild(settings: Settings, table: str) -> None:
    """Make a Silver table anew from Bronze, beside the live one, and compare; exit code 1 when they differ."""
    from batch.rebuild import rebuild as make_anew
    from lakehouse.session import build_session

    found = make_anew(build_session(settings, "lakehouse-rebuild"), settings, TABLES[table])
    for one in found:
        click.echo(str(one))
    if wrong := [one.table for one in found if not one.agrees]:
        raise RebuildDiffers(wrong)


@batch.command("forget-deletes")
@click.argument("table", type=TABLE)
@click.option("--before", required=True, type=click.DateTime(["%Y-%m-%d"]), help="Deletes older than this day (UTC).")
@click.pass_obj
def forget(settings: Settings, table: str, before: datetime) -> None:
    """Forget old deletes, but of rows that an order still names; not beside a night.

    A change from before them, of a key that is not there, goes to the quarantine afterwards.
    """
    from batch.forget_deletes import forget_deletes
    from lakehouse import night_step
    from lakehouse.session import build_session

    captured: CapturedTable = TABLES[table]
    with night_step.alone(settings):
        rows = forget_deletes(build_session(settings, "lakehouse-forget"), settings, captured, before)
    click.echo(f"{captured.deleted.name}: {rows} deletes forgotten")


@batch.command()
@click.argument("table", type=TABLE)
@click.option("--dry-run", is_flag=True, help="Say what would become of each change, and write nothing.")
@click.pass_obj
def replay(settings: Settings, table: str, dry_run: bool) -> None:
    """Merge the changes again that no merge could place (`lakehouse quarantine list`: silver_TABLE); not beside a
    night.
    """
    from batch.replay import replay as merge_again
    from lakehouse import night_step
    from lakehouse.session import build_session

    with night_step.alone(settings):
        spark = build_session(settings, "lakehouse-replay")
        found = merge_again(spark, settings, TABLES[table], acting_user(), dry_run)
    for reason, rows in sorted(found.still_bad.items()):
        click.echo(f"{rows} still bad: {reason}")
    click.echo(f"{TABLES[table].silver.name}: {found.placed} placed{' (dry run)' if dry_run else ''}")


@batch.command()
@click.option("--by-key", is_flag=True, help="Lay the changes in Bronze out by key; reads all of them.")
@click.pass_obj
def compact(settings: Settings, by_key: bool) -> None:
    """Make few large files of many small ones, in Bronze and Silver; not beside a night, nor on S3 beside a stream."""
    from batch.compact import compact as compact_all
    from lakehouse.session import build_session

    for one in compact_all(build_session(settings, "lakehouse-compact"), settings, by_key):
        click.echo(str(one))


@batch.command()
@click.pass_obj
def vacuum(settings: Settings) -> None:
    """Delete files of Bronze, Silver and the candidates that no version of the last week needs; beside anything."""
    from batch.vacuum import vacuum as vacuum_all
    from lakehouse.session import build_session

    for one in vacuum_all(build_session(settings, "lakehouse-vacuum"), settings):
        click.echo(str(one))


@batch.command("open-incarnation")
@click.argument("name")
@click.option("--reason", required=True, help="What happened: a restore, a failover. Recorded.")
@click.pass_obj
def open_incarnation(settings: Settings, name: str, reason: str) -> None:
    """Say that the source was restored or failed over, and that its new life NAME follows the ones before."""
    from batch.incarnations import open_next
    from lakehouse.session import build_session

    opened = open_next(build_session(settings, "lakehouse-incarnation"), settings, name, reason)
    for ordinal, one in enumerate(opened, start=1):
        click.echo(f"{ordinal}  {one}")
