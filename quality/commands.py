"""`lakehouse quality`: what was checked last, what failed, and the score, read without Spark."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import click

from lakehouse import direct_read
from lakehouse.settings import Settings
from lakehouse.tables import QUALITY_RESULTS, QUALITY_SCORES

DAY = click.DateTime(["%Y-%m-%d"])
RESULTS_SQL = """
select layer, table_name, check_name, is_success, is_blocking, observed, expected
from ops.quality_results where run_id = ? order by layer = 'candidate', layer, table_name, is_success, check_name
"""
SCORES_SQL = (
    "select table_name, dimension, score, points_lost_by from ops.quality_scores where run_id = ? order by 1, 2"
)


@click.group()
def quality() -> None:
    """Results of the checks and the score of a night."""


@quality.command()
@click.option("--date", "on", type=DAY, help="Business date; without it the newest night that was checked.")
@click.option("--failed", "only_failed", is_flag=True, help="Only the checks that failed or did not run.")
@click.pass_obj
def show(settings: Settings, on: datetime | None, only_failed: bool) -> None:
    """Print the checks of the newest run (of a date), and its score with what took the points."""
    connection = direct_read.connect(settings, QUALITY_RESULTS.name, QUALITY_SCORES.name)
    has_results = direct_read.open_table(settings, QUALITY_RESULTS.name) is not None
    run = _newest_run(connection, on.date() if on else None) if has_results else None
    if run is None:
        raise click.ClickException(
            f"Nothing was checked{f' for {on:%Y-%m-%d}' if on else ''} yet. Run `lakehouse night run` first."
        )
    run_id, business_date = run
    click.echo(f"Business date {business_date}, run {run_id}")
    _print_results(direct_read.rows(connection, RESULTS_SQL, run_id), only_failed)
    if direct_read.open_table(settings, QUALITY_SCORES.name) is not None:
        _print_scores(direct_read.rows(connection, SCORES_SQL, run_id))


def _newest_run(connection: Any, on: date | None) -> tuple[str, date] | None:
    sql = "select run_id, business_date from ops.quality_results "
    newest = "order by checked_at desc limit 1"
    found = (
        direct_read.rows(connection, f"{sql} where business_date = ? {newest}", on)
        if on
        else direct_read.rows(connection, sql + newest)
    )
    return (found[0][0], found[0][1]) if found else None


def _print_results(results: list[tuple[Any, ...]], only_failed: bool) -> None:
    failed = [one for one in results if not one[3]]
    title = None
    for layer, table, check, is_success, is_blocking, observed, expected in failed if only_failed else results:
        if (layer, table) != title:
            title = (layer, table)
            click.echo(f"\n{table}" if table.startswith(f"{layer}.") else f"\n{layer}: {table}")
        word = "ok  " if is_success else "FAIL" if is_blocking else "warn"
        click.echo(f"  {word}  {check:<44} {observed}" + ("" if is_success else f"  (expected {expected})"))
    blocking = sum(1 for one in failed if one[4])
    click.echo(f"\n{len(results)} checks: {blocking} failed, {len(failed) - blocking} warned")


def _print_scores(scores: list[tuple[Any, ...]]) -> None:
    night = next((one for one in scores if one[0] == "all"), None)
    if night is None:
        return
    click.echo(f"\nQuality score {night[2]:.1f} of 100")
    for lost in night[3] or []:
        click.echo(f"  -{lost['points']:.2f}  {lost['check_name']}")
    for table, dimension, score, _ in scores:
        if table != "all" and score < 100:
            click.echo(f"  {score:5.1f}  {table}, {dimension}")
