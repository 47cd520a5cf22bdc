"""`lakehouse report`: write the morning report and say where it is."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import click

from batch.report import write_report_and_headline
from lakehouse.settings import Settings


@click.command()
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="Business date; default: yesterday.")
@click.option("--as-json", is_flag=True, help="Print path and headline as one JSON object.")
@click.pass_obj
def report(settings: Settings, day: datetime | None, as_json: bool) -> None:
    """Write the morning report of a business date from the published tables. Needs no Spark and no network."""
    yesterday = datetime.now(ZoneInfo(settings.business_time_zone)).date() - timedelta(days=1)
    path, headline = write_report_and_headline(settings, day.date() if day else yesterday)
    if as_json:
        click.echo(json.dumps({"path": str(path), "headline": headline}))
    else:
        click.echo(f"{headline}\n{path}")
