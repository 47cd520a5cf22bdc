"""Did the source send everything? The heartbeat's counter grows by one with each beat, under a lock on its one row,
and Debezium sends commits in their order: where Bronze lacks a beat, or a new snapshot stands between two, changes in
between were never sent. No offset can tell that: the topics are without a hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime

from duckdb import DuckDBPyConnection
from pyspark.sql import SparkSession

from lakehouse import delta_io, direct_read, lease
from lakehouse.errors import LakehouseError
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import HEARTBEATS, SOURCE_GAPS

log = get_logger(__name__)
NAMED = 5
"""Gaps that a message names; the rest is counted."""
# In the order of arrival, which the offsets alone don't give: a topic that was made again begins with 0. A beat that
# was sent again is one; an incremental snapshot only reads again what was sent.
BREAKS = """
with beats as (
    select source_incarnation, "after".beat as beat, op, lsn, source_at, _kafka_at, _offset
    from bronze.heartbeats_changes
    where op in ('r', 'c', 'u') and coalesce(snapshot, 'false') <> 'incremental'
    qualify row_number() over (
        partition by source_incarnation, op, lsn, "after".beat order by _kafka_at, _offset) = 1
), pairs as (
    select lag(source_incarnation) over arrival as incarnation_before, lag(op) over arrival as op_before,
           lag(beat) over arrival as beat_before, lag(source_at) over arrival as at_before, *
    from beats window arrival as (order by _kafka_at, _offset)
)
select coalesce(source_incarnation, ''), beat_before, beat, lsn, at_before, source_at, op = 'r' as is_snapshot
from pairs
where case when op <> 'r' then beat <> beat_before + 1
           -- A snapshot that was interrupted begins again; one of a database that was restored is opened by command.
           else op_before <> 'r' and source_incarnation is not distinct from incarnation_before end
order by _kafka_at, _offset
"""


@dataclass(frozen=True)
class SourceGap:
    """Two heartbeats that stand side by side in Bronze, and between which the source sent less than everything."""

    source_incarnation: str
    after_beat: int
    next_beat: int
    next_lsn: int
    cause: str
    after_at: datetime
    next_at: datetime
    """Times of the two in the source, UTC."""

    def __str__(self) -> str:
        since, until = f"{self.after_at:%Y-%m-%d %H:%M:%S}", f"{self.next_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.cause} between {since} (beat {self.after_beat}) and {until} (beat {self.next_beat})"


class SourceChangesMissing(LakehouseError):
    """The source did not send all changes; nothing was merged."""

    def __init__(self, gaps: Sequence[SourceGap]) -> None:
        self.gaps = tuple(gaps)
        more = f"; and {len(gaps) - NAMED} more" if len(gaps) > NAMED else ""
        super().__init__(
            f"Changes of the source were never sent: {'; '.join(map(str, gaps[:NAMED]))}{more}. Was the replication "
            "slot or the connector reset? Nothing was merged. Let the source send its rows again (a snapshot), have "
            'deletes found by the reconciliation, and record it: `lakehouse source accept-gap --reason "..."`; then '
            "the night goes on (docs/runbooks/replication-slot.md)."
        )


def find(connection: DuckDBPyConnection) -> list[SourceGap]:
    """All gaps in `bronze.heartbeats_changes` of a connection, the oldest first."""
    return [
        SourceGap(incarnation, before, beat, lsn, _cause(before, beat, is_snapshot), utc(after_at), utc(next_at))
        for incarnation, before, beat, lsn, after_at, next_at, is_snapshot in direct_read.rows(connection, BREAKS)
    ]


def _cause(before: int, beat: int, is_snapshot: bool) -> str:
    # What a snapshot read is the row; the change that made it so was not sent.
    first, last = before + 1, beat if is_snapshot else beat - 1
    if beat < before or (beat == before and not is_snapshot):
        found = "the counter went back"
    elif first > last:
        found = "no beat is missing"
    else:
        found = f"beat {first} is missing" if first == last else f"beats {first} to {last} are missing"
    return f"{found}, and a new snapshot begins," if is_snapshot else found


def utc(moment: datetime) -> datetime:
    """A time of Bronze, which DuckDB gives with or without its zone."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def still_open(settings: Settings) -> list[SourceGap]:
    """The gaps that nobody accepted, the oldest first. Reads Delta directly: no Spark start."""
    name = HEARTBEATS.changes.name
    if direct_read.open_table(settings, name) is None:
        return []
    connection = direct_read.connect(settings, name, SOURCE_GAPS.name)
    accepted = set()
    if direct_read.open_table(settings, SOURCE_GAPS.name) is not None:
        sql = "select source_incarnation, after_beat, next_beat, next_lsn from ops.source_gaps"
        accepted = set(direct_read.rows(connection, sql))
    return [gap for gap in find(connection) if astuple(gap)[:4] not in accepted]


def accept(spark: SparkSession, settings: Settings, reason: str, accepted_by: str) -> list[SourceGap]:
    """Record that the gaps of now are known and cared for; returns them. Those that come later are gaps again.

    Raises `LeaseHeld` while another process does the same.
    """
    with lease.hold("source-gaps", settings):
        gaps = still_open(settings)
        rows = [(*astuple(gap), reason, accepted_by, datetime.now(UTC)) for gap in gaps]
        if rows:
            delta_io.append(spark.createDataFrame(rows, SOURCE_GAPS.schema).coalesce(1), SOURCE_GAPS, settings)
    for gap in gaps:
        log.warning("source_gap_accepted", gap=str(gap), reason=reason, accepted_by=accepted_by)
    return gaps
