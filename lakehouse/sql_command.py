"""`lakehouse sql`: a query over the tables as they are now, without Spark."""

from __future__ import annotations

import re
import shutil

import click
import duckdb

from lakehouse import direct_read
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings

TABLE = re.compile(r'\b(bronze|silver|gold|ops)\."?([a-z0-9_/]+)')


class QueryRefused(LakehouseError):
    """A query that can't be answered."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason.strip()}\nTables are named by layer and name (`ops.runs`, `bronze.orders_changes`); those with a "
            'slash need quotes (`ops."quarantine/orders_changes"`). One that was never written is not there.'
        )


@click.command()
@click.argument("query")
@click.option("--rows", default=100, show_default=True, type=click.IntRange(1), help="So many are shown at most.")
@click.pass_obj
def sql(settings: Settings, query: str, rows: int) -> None:
    """Answer QUERY over Bronze, Silver, Gold and ops as they are now (DuckDB's SQL, no Spark)."""
    names = sorted({f"{layer}.{name}" for layer, name in TABLE.findall(query)})
    try:
        answer = direct_read.connect(settings, *names).sql(query)
        if answer is not None:
            answer.show(max_rows=rows, max_width=shutil.get_terminal_size().columns)
    except duckdb.Error as error:
        raise QueryRefused(str(error)) from None
