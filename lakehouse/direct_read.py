"""Reading Delta tables without Spark, for commands that must answer at once and for checks by an independent reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder

from lakehouse.ledger_entry import ENTRY, Entry
from lakehouse.settings import Settings
from lakehouse.tables import LEDGER


def _storage(settings: Settings) -> dict[str, str]:
    if "://" not in settings.warehouse:
        return {}
    options = {
        "AWS_REGION": settings.s3_region,
        "AWS_ACCESS_KEY_ID": settings.s3_access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key.get_secret_value(),
        "AWS_ENDPOINT_URL": settings.s3_endpoint,
        "AWS_ALLOW_HTTP": str(settings.s3_endpoint.startswith("http:")).lower(),
    }
    return {name: value for name, value in options.items() if value}


def open_table(settings: Settings, name: str, version: int | None = None) -> DeltaTable | None:
    """The Delta table `layer.table`, or None where there is none yet."""
    layer, _, table = name.partition(".")
    uri = f"{settings.warehouse}/{layer}/{table}".replace("s3a://", "s3://")
    options = _storage(settings)
    if not DeltaTable.is_deltatable(uri, options):
        return None
    return DeltaTable(uri, version=version, storage_options=options)


def contents(table: DeltaTable) -> Any:
    """The rows of an open table, in a form that DuckDB registers."""
    # Rows that a merge marked as replaced are known to the query engine only; the others are read where they lie.
    if "deletionVectors" in (table.protocol().reader_features or ()):
        return pa.table(QueryBuilder().register("rows", table).execute("select * from rows").read_all())
    return table.to_pyarrow_dataset()


def connect(settings: Settings, *names: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in which each existing table is a view `layer.table`; times are shown in UTC."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    for name in names:
        table = open_table(settings, name)
        if table is not None:
            layer, _, short = name.partition(".")
            connection.execute(f'create schema if not exists "{layer}"')
            source = f"{layer}__{short}".replace("/", "__")
            connection.register(source, contents(table))
            connection.execute(f'create view "{layer}"."{short}" as select * from "{source}"')  # noqa: S608 - ours
    return connection


def row_count(settings: Settings, name: str) -> int:
    """How many rows the table `layer.table` has; 0 where there is none yet."""
    if open_table(settings, name) is None:
        return 0
    layer, _, short = name.partition(".")
    found = connect(settings, name).execute(f'select count(*) from "{layer}"."{short}"')  # noqa: S608 - ours
    return int((found.fetchone() or (0,))[0])


def ledger_commits(settings: Settings, stream: str) -> Iterator[tuple[datetime, Entry]]:
    """The ledger entries of a Bronze table, each with the time of its commit in UTC, oldest first: from the commits
    themselves, and from `ops.ledger` where those have expired.
    """
    table = open_table(settings, f"bronze.{stream}")
    commits = table.history()[::-1] if table else []
    held = [
        (datetime.fromtimestamp(commit["timestamp"] / 1000, UTC), Entry.from_dict(json.loads(metadata)[ENTRY]))
        for commit in commits
        if ENTRY in (metadata := commit.get("userMetadata") or "")
    ]
    if commits:
        yield from _expired(settings, stream, {_name(entry) for _, entry in held})
    yield from held


def _expired(settings: Settings, stream: str, held: set[tuple[Any, ...]]) -> Iterator[tuple[datetime, Entry]]:
    """The entries that the table's log has no more."""
    ledger = open_table(settings, LEDGER.name)
    if ledger is None:
        return
    found = ledger.to_pyarrow_dataset().to_table(filter=pc.field("stream") == stream).sort_by("table_version")
    for row in found.to_pylist(maps_as_pydicts="strict"):
        # Not by the version: the numbers that `history` gives are wrong where somebody commits while it is read.
        if _name(entry := Entry.from_row(row)) not in held:
            yield row["committed_at"], entry


def _name(entry: Entry) -> tuple[Any, ...]:
    """What tells an entry from any other of its table."""
    return entry.kind, entry.query_id, entry.batch_id, entry.ranges, entry.ingested_at


def ledger_entries(settings: Settings, stream: str) -> Iterator[Entry]:
    """The ledger entries of a Bronze table, oldest first."""
    return (entry for _, entry in ledger_commits(settings, stream))


def rows(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """All rows of a query with positional parameters."""
    return connection.execute(sql, list(parameters)).fetchall()
