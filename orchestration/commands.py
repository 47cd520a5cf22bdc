"""`lakehouse night`: run the nightly DAG here, or prepare an Airflow of your own to run it."""

from __future__ import annotations

import shlex
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import click

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from orchestration import run_night


class DayHasNotCome(LakehouseError):
    """The night of a future day would publish numbers of nothing."""

    def __init__(self, day: date, today: date, zone: str) -> None:
        super().__init__(f"The night of {day} can't run yet: today is {today} in {zone}. Give a --date up to today.")


@click.group()
def night() -> None:
    """The nightly run: catch up, check, merge, build, check, publish, score, tell."""


@night.command()
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="Business date, not after today; default: yesterday."
)
@click.option("--retry-seconds", type=click.FloatRange(min=0), help="Delay between tries; default: five minutes.")
@click.pass_obj
def run(settings: Settings, day: datetime | None, retry_seconds: float | None) -> None:
    """Run the night of one business date with a real Airflow of its own. Safe to run again for the same date."""
    today = datetime.now(ZoneInfo(settings.business_time_zone)).date()
    business_date = day.date() if day else today - timedelta(days=1)
    if business_date > today:
        raise DayHasNotCome(business_date, today, settings.business_time_zone)
    seconds = run_night.run(settings, business_date, click.echo, retry_seconds)
    click.echo(f"The night of {business_date} is complete: {sum(seconds.values()):.1f} s in {len(seconds)} tasks.")


@night.command()
@click.pass_obj
def configure(settings: Settings) -> None:
    """Write Spark's settings for the DAG and print what Airflow needs in its environment, as shell exports."""
    for name, value in run_night.configure(settings).items():
        click.echo(f"export {name}={shlex.quote(value)}")
