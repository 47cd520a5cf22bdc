"""What Postgres holds of a captured table at the cut: rows and hash per key bucket, and the keys of single buckets.

Only counts and hashes leave the database, and the keys of buckets that differ.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from lakehouse import canonical_form as form
from lakehouse.errors import LakehouseError
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.source_cut import Reading, SourceCut, reading
from lakehouse.tables import SILVER_CAPTURED, CapturedTable

log = get_logger(__name__)
SCHEMA = "public"
NOT_DECLARED = "(not declared)"
"""Behind a column that only the source has."""
FEWEST_BUCKETS = 256
MOST_BUCKETS = 65_536
ROWS_PER_BUCKET = 4_096
COLUMNS = """
select attname,
       case coalesce(element.typtype, kind.typtype)
            when 'e' then 'enum' else coalesce(element.typname, kind.typname) end
       || case when element.oid is null then '' else '[]' end
from pg_attribute
join pg_type as kind on kind.oid = atttypid
left join pg_type as element on element.oid = kind.typelem and kind.typcategory = 'A'
where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum
"""


class SourceNotReadable(LakehouseError):
    """Postgres did not give the rows of a captured table."""

    def __init__(self, table: str, found: str) -> None:
        super().__init__(
            f"Postgres does not give counts and hashes of {table}: {found}. The role of LAKEHOUSE_POSTGRES_READER_USER "
            "must be allowed to select from it (infra/postgres/2_tables.sql), within "
            "LAKEHOUSE_POSTGRES_READ_SECONDS for all tables together."
        )


@dataclass(frozen=True)
class Shape:
    """Which columns of a table are compared, and what the source calls those with another name."""

    columns: tuple[str, ...]
    left_out: tuple[str, ...]
    """Name and reason of each column that is not compared."""
    source_names: Mapping[str, str]


@dataclass(frozen=True)
class Bucket:
    """Rows of a bucket and the sum of their hashes modulo 2^60: a doubled row does not cancel out."""

    rows: int
    hash: int


@dataclass(frozen=True)
class SourceTable:
    """A table as the cut shows it."""

    table: CapturedTable
    shape: Shape
    buckets: int
    held: Mapping[int, Bucket]
    """Bucket -> what it holds; empty ones are left out."""
    seconds: float

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return sum(one.rows for one in self.held.values())


def read(settings: Settings, tables: Sequence[CapturedTable] = SILVER_CAPTURED) -> tuple[SourceCut, list[SourceTable]]:
    """Take a cut, and count and hash the tables in its own transaction.

    Raises `ServiceUnreachable` and `SourceNotReadable`.
    """
    with reading(settings) as (connection, cut):
        return cut, count(connection, settings, tables)


def count(connection: Reading, settings: Settings, tables: Sequence[CapturedTable]) -> list[SourceTable]:
    """Count and hash the tables as the connection's transaction sees them, in `postgres_read_seconds` for all together.

    Raises `SourceNotReadable`.
    """
    deadline = time.monotonic() + settings.postgres_read_seconds
    found = [_read_table(connection, table, deadline) for table in tables]
    seconds = {one.table.name: round(one.seconds, 1) for one in found}
    log.info("source_read", rows={one.table.name: one.rows for one in found}, seconds=seconds)
    return found


def keys(
    connection: Reading, source: SourceTable, buckets: Sequence[int], seconds: float
) -> Iterator[tuple[str, tuple[object, ...], int]]:
    """Canonical key, key values and row hash of each row of these buckets, as the connection's transaction sees it."""
    columns = _key_columns(source.table, source.shape)
    statement = sql.SQL("select _key_text, _row_hash, {columns} from {rows} where _bucket = any(%s)").format(
        columns=columns, rows=_rows(source.table, source.shape, source.buckets)
    )
    for key_text, row_hash, *values in _execute(
        connection, source.table, statement, time.monotonic() + seconds, [list(buckets)]
    ):
        yield str(key_text), tuple(values), int(str(row_hash))


def shape_of(table: CapturedTable, in_source: Mapping[str, str]) -> Shape:
    """What can be compared of a table whose source has these columns, of these types (`canonical_form.has_form`)."""
    names = {declared: found for found, declared in table.old_names.items() if found in in_source}
    source_names = {name: found for name, found in names.items() if name not in in_source}
    left_out, compared = [], []
    for field in table.columns:
        kind = in_source.get(source_names.get(field.name, field.name))
        if kind is None:
            left_out.append(f"{field.name} (not in the source)")
        elif not form.has_form(field.dataType, kind):
            left_out.append(f"{field.name} (type {field.dataType.simpleString()}, {kind} in the source)")
        else:
            compared.append(field.name)
    known = {*table.columns.names, *source_names.values()}
    left_out += [f"{name} {NOT_DECLARED}" for name in in_source if name not in known]
    return Shape(tuple(compared), tuple(left_out), source_names)


def _read_table(connection: Reading, table: CapturedTable, deadline: float) -> SourceTable:
    started = time.monotonic()
    qualified = f'"{SCHEMA}"."{table.name}"'
    in_source = {
        str(row[0]): str(row[1]) for row in _execute(connection, table, sql.SQL(COLUMNS), deadline, [qualified])
    }
    if not in_source:
        raise SourceNotReadable(table.name, f"there is no table {SCHEMA}.{table.name}")
    shape = shape_of(table, in_source)
    if missing := [key for key in table.keys if key not in shape.columns]:
        raise SourceNotReadable(table.name, f"its key {', '.join(missing)} is missing or of a type without a text form")
    buckets = _bucket_count(connection, qualified)
    statement = sql.SQL("select _bucket, count(*), sum(_row_hash) from {} group by _bucket").format(
        _rows(table, shape, buckets)
    )
    held = {
        int(str(bucket)): Bucket(int(str(rows)), int(str(total)) % form.MODULUS)
        for bucket, rows, total in _execute(connection, table, statement, deadline)
    }
    return SourceTable(table, shape, buckets, held, time.monotonic() - started)


def _rows(table: CapturedTable, shape: Shape, buckets: int) -> sql.Composable:
    """A subquery of the table's keys with _key_text, _row_hash and _bucket."""
    key_text = form.postgres_row(table.keys, table.columns, shape.source_names)
    row_text = form.postgres_row(shape.columns, table.columns, shape.source_names)
    return sql.SQL(
        "(select {keys}, {row} as _row_hash, {key} as _key_text, {bucket} as _bucket from {table}) as canonical"
    ).format(
        keys=_key_columns(table, shape),
        row=form.postgres_hash(row_text),
        key=key_text,
        bucket=form.postgres_bucket(key_text, buckets),
        table=sql.Identifier(SCHEMA, table.name),
    )


def _key_columns(table: CapturedTable, shape: Shape) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(shape.source_names.get(key, key)) for key in table.keys)


def _bucket_count(connection: Reading, qualified: str) -> int:
    """A power of two that grows with the table, by the estimate that Postgres keeps of its rows."""
    row = connection.execute("select greatest(reltuples, 0) from pg_class where oid = to_regclass(%s)", [qualified])
    (estimate,) = row.fetchone() or (0,)
    wanted = 1 << max(0, int(float(str(estimate)) / ROWS_PER_BUCKET)).bit_length()
    return min(MOST_BUCKETS, max(FEWEST_BUCKETS, wanted))


def _execute(
    connection: Reading,
    table: CapturedTable,
    statement: sql.SQL | sql.Composed,
    deadline: float,
    parameters: Sequence[object] = (),
) -> list[tuple[object, ...]]:
    """Run one statement; what is left of the time is its timeout."""
    left_ms = max(1, int((deadline - time.monotonic()) * 1000))
    try:
        connection.execute(sql.SQL("set local statement_timeout = {}").format(sql.Literal(left_ms)))
        rows: list[tuple[object, ...]] = connection.execute(statement, parameters).fetchall()
        return rows
    except psycopg.Error as error:
        raise SourceNotReadable(table.name, str(error).splitlines()[0]) from None
