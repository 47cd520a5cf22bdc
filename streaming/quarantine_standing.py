"""Where each rejected row stands: open, replayed or discarded, and its reasons of now.

Derived, never stored: a row is replayed when Bronze holds it, so the two can't disagree, whatever died in between
(docs/decisions/0012-standing-of-rejected-rows.md). One SQL text says so to both engines, Spark and DuckDB.
"""

from __future__ import annotations

from duckdb import DuckDBPyConnection
from pyspark.sql import DataFrame, SparkSession

from lakehouse import delta_io, direct_read
from lakehouse.settings import Settings
from lakehouse.tables import BRONZE, CLICK_EVENTS, quarantine_of, quarantine_outcomes_of

OPEN = "open"
"""Of no outcome, or still bad at the last attempt (`lakehouse.outcomes`)."""
SPECS = {spec.table: spec for spec in BRONZE}
"""What no merge could place has none: it is in Bronze all the time, and its outcomes alone tell where it stands."""
STANDING = """
with decided as (
    select quarantine_id,
           max(decided_at) filter (where outcome = 'replayed') as replayed_at,
           max(decided_at) filter (where outcome = 'discarded') as discarded_at,
           max_by(reasons, decided_at) filter (where outcome = 'still_bad') as last_reasons,
           count(*) as attempts
    from {outcomes} group by quarantine_id
), marked as (
    select %s, _partition, _offset, _kafka_at, min(_replayed_at) as in_bronze_since
    from {bronze} where _replayed_at is not null group by 1, 2, 3, 4, 5, 6
)
select rejected.*, replayed_at, discarded_at, in_bronze_since,
       coalesce(last_reasons, reasons) as reasons_now, coalesce(attempts, 0) as attempts,
       case when replayed_at is not null or in_bronze_since is not null then 'replayed'
            when discarded_at is not null then 'discarded' else 'open' end as status
from {rejected} as rejected
left join decided on decided.quarantine_id = rejected.quarantine_id
left join marked on marked.place = rejected.origin and marked.etag = coalesce(rejected.origin_etag, '')
    and marked.spot = rejected.origin_position and marked._partition = rejected._partition
    and marked._offset = rejected._offset and marked._kafka_at = rejected.arrived_at
"""
NO_OUTCOMES = """select '' as quarantine_id, '' as outcome, [''] as reasons, '' as rule_version, '' as why,
    '' as requested_by, now() as decided_at where false"""
NOTHING_IN_BRONZE = """select '' as _topic, '' as _source_file, '' as _etag, 0 as _source_line, 0 as _partition,
    0 as _offset, now() as _kafka_at, now() as _replayed_at where false"""


def _sql(stream: str) -> str:
    is_line = stream == CLICK_EVENTS.table
    place = "_source_file as place, coalesce(_etag, '') as etag, _source_line as spot"
    return STANDING % (place if is_line else "_topic as place, '' as etag, _offset as spot")


def read(spark: SparkSession, settings: Settings, stream: str) -> DataFrame:
    """The rejected rows of a stream with `status`, `reasons_now`, `attempts` and the moments behind them.

    All its tables must exist.
    """
    rejected = delta_io.read(spark, quarantine_of(stream), settings)
    outcomes = delta_io.read(spark, quarantine_outcomes_of(stream), settings)
    spec = SPECS.get(stream)
    bronze = delta_io.read(spark, spec, settings) if spec else spark.sql(NOTHING_IN_BRONZE)
    return spark.sql(_sql(stream), rejected=rejected, outcomes=outcomes, bronze=bronze)


def connect(settings: Settings, stream: str) -> DuckDBPyConnection | None:
    """A DuckDB connection with the same as a view `standing`, the outcomes as `outcomes` and the rows of Bronze that
    came back as `came_back`; None where no row of the stream was ever rejected.
    """
    spec = SPECS.get(stream)
    names = [quarantine_of(stream).name, quarantine_outcomes_of(stream).name, *([spec.name] if spec else [])]
    if direct_read.open_table(settings, names[0]) is None:
        return None
    outcomes = direct_read.open_table(settings, names[1])
    bronze = direct_read.open_table(settings, spec.name) if spec else None
    connection = direct_read.connect(settings, *names)
    # A table that no driver of this version has opened yet lacks the column, and holds no row that came back.
    is_marked = bronze is not None and any(field.name == "_replayed_at" for field in bronze.schema().fields)
    outcomes_sql = f'select * from "ops"."quarantine_outcomes/{stream}"' if outcomes else NO_OUTCOMES  # noqa: S608 - ours
    connection.execute(f"create view outcomes as {outcomes_sql}")
    bronze_sql = f'select * from "bronze"."{stream}" where _replayed_at is not null'  # noqa: S608 - ours
    connection.execute(f"create view came_back as {bronze_sql if is_marked else NOTHING_IN_BRONZE}")
    text = _sql(stream).format(rejected=f'"ops"."quarantine/{stream}"', outcomes="outcomes", bronze="came_back")
    connection.execute(f"create view standing as {text}")
    return connection


def backlog(settings: Settings, stream: str) -> dict[str, tuple[int, float]]:
    """Of the open rows: reasons of now, joined by `+` -> how many, and when the oldest was rejected (seconds since
    1970).
    """
    connection = connect(settings, stream)
    if connection is None:
        return {}
    sql = """select array_to_string(reasons_now, '+'), count(*), epoch(min(_ingested_at))
             from standing where status = 'open' group by 1"""
    return {reason: (rows, oldest) for reason, rows, oldest in direct_read.rows(connection, sql)}
