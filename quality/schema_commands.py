"""`lakehouse schema check`: what a new writer schema would do, before it is deployed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from quality import schema_check


@click.group()
def schema() -> None:
    """Schemas of the writers."""


@schema.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--table", type=click.Choice(schema_check.TABLES), default=schema_check.TABLES[0], show_default=True,
    help="The Bronze table that the writer's records go to.",
)  # fmt: skip
def check(file: Path, table: str) -> None:
    """Say for each field of an Avro schema (.avsc) what becomes of it. Exit code 1 where rows would be rejected.

    Needs neither Spark nor network. For a change topic FILE is Debezium's envelope or the row's record alone.
    """
    report = schema_check.check(file.read_text("utf-8"), table)
    for line in report.lines:
        click.echo(line)
    if not report.is_safe:
        sys.exit(1)
