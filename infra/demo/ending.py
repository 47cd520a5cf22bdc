"""What the demo prints at its end: rows per table, rejected rows, sales, score, and where to look next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

import click

from lakehouse import direct_read
from lakehouse.settings import Settings
from lakehouse.tables import BRONZE, CLICKS, INVENTORY_LEVELS, MARTS, QUALITY_SCORES, SESSIONS, SILVER_CAPTURED
from streaming.inspection import quarantine_lines

SHOWN_MESSAGES = 8


def delivered_lines(settings: Settings) -> Iterator[str]:
    """The newest messages at the Slack stand-in, with the seconds from the stock movement to the message."""
    record = settings.home / "stack" / "slack" / "messages.jsonl"
    lines = record.read_text("utf-8").splitlines() if record.is_file() else []
    for line in lines[-SHOWN_MESSAGES:]:
        yield " | ".join(json.loads(line)["payload"].get("text", "").splitlines()[:2])


def print_ending(settings: Settings, night: date) -> None:
    """Print the end of a demo whose comparisons all hold; `night` is the business date of its report."""
    click.secho("\nRows per table", bold=True)
    silver = (*(table.silver for table in SILVER_CAPTURED), INVENTORY_LEVELS, CLICKS, SESSIONS)
    names = [spec.name for spec in (*BRONZE, *silver)]
    for name in (*names, *(f"gold.{mart}" for mart in MARTS)):
        click.echo(f"  {name:<28}{direct_read.row_count(settings, name):>9,}")
    click.secho("\nQuarantine by reason (`lakehouse quarantine show ID` prints a row with its bytes)", bold=True)
    for line in quarantine_lines(settings):
        click.echo(f"  {line}")
    _sales(settings)
    _score(settings)
    report = settings.home / "reports" / f"{night}.html"
    click.secho(f"\nMorning report: {report}", bold=True)
    click.echo("Next: `lakehouse status`, `lakehouse ledger`, `lakehouse quality show`, `lakehouse down`.")


def _sales(settings: Settings) -> None:
    click.secho("\nDaily sales", bold=True)
    connection = direct_read.connect(settings, "gold.agg_daily_sales")
    sql = """select order_date, sum(orders), sum(revenue), sum(profit) from "gold"."agg_daily_sales"
             group by 1 order by 1 desc limit 7"""
    for day, orders, revenue, profit in direct_read.rows(connection, sql):
        click.echo(f"  {day}  {orders:>6,} orders  revenue {revenue:>12,.2f}  profit {profit:>12,.2f}")


def _score(settings: Settings) -> None:
    connection = direct_read.connect(settings, QUALITY_SCORES.name)
    sql = """select table_name, dimension, score from "ops"."quality_scores"
             where scored_at = (select max(scored_at) from "ops"."quality_scores") order by score, 1, 2 limit 5"""
    click.secho("\nQuality score, lowest first (`lakehouse quality show` prints what took the points)", bold=True)
    for table, dimension, score in direct_read.rows(connection, sql):
        click.echo(f"  {table:<28}{dimension:<16}{score:>7.1f}")
