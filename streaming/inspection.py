"""What the quarantine and the alerts hold, as lines to print. Reads Delta directly: no Spark start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from duckdb import DuckDBPyConnection

from lakehouse import direct_read
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from lakehouse.tables import ALERTS, STREAMS, UNMERGED, quarantine_of
from streaming import quarantine_requests, quarantine_standing

BY_REASON = """
    select array_to_string(reasons_now, '+'), count(*) filter (where status = 'open'),
           count(*) filter (where status = 'replayed'), count(*) filter (where status = 'discarded'),
           min(_ingested_at) filter (where status = 'open'),
           coalesce(min(quarantine_id) filter (where status = 'open'), min(quarantine_id))
    from standing group by 1 order by 2 desc, 1"""


class NoSuchRow(LakehouseError):
    """No rejected row has this id."""

    def __init__(self, quarantine_id: str) -> None:
        super().__init__(f"No rejected row has the id {quarantine_id!r}. `lakehouse quarantine list` prints the ids.")


def quarantine_counts(settings: Settings) -> dict[str, Counter[str]]:
    """Rejected rows per stream and reason; a row with several reasons counts under each list, joined by `+`."""
    found = {}
    for stream in STREAMS:
        name = quarantine_of(stream).name
        connection = direct_read.connect(settings, name)
        if direct_read.open_table(settings, name) is not None:
            sql = f"""select array_to_string(reasons, '+'), count(*) from "ops"."quarantine/{stream}" group by 1"""  # noqa: S608 - ours
            found[stream] = Counter(dict(direct_read.rows(connection, sql)))
    return found


def quarantine_lines(settings: Settings) -> Iterator[str]:
    """Per stream and reasons of now: how many rows are open, since when, how many were replayed and discarded, and the
    id of one of them; then the requests that wait for an answer.
    """
    heads = f"{'open':>8}{'replayed':>10}{'discarded':>10}  {'open since (UTC)':<18}"
    yield f"{'stream':<22}{'reason':<28}{heads}one of them"
    for stream in (*STREAMS, *UNMERGED):
        connection = quarantine_standing.connect(settings, stream)
        for row in direct_read.rows(connection, BY_REASON) if connection else ():
            reason, count, replayed, discarded, since, example = row
            when = f"{since:%Y-%m-%d %H:%M}" if since else "-"
            yield f"{stream:<22}{reason:<28}{count:>8}{replayed:>10}{discarded:>10}  {when:<18}{example}"
    for stream in STREAMS:
        for request in quarantine_requests.pending(settings, stream):
            yield f"waits: {request.kind} of {stream}, asked for by {request.requested_by} ({request.request_id})"


def has_rows(settings: Settings, stream: str) -> bool:
    """Whether a row of the stream was ever rejected."""
    return direct_read.open_table(settings, quarantine_of(stream).name) is not None


def stream_of(settings: Settings, quarantine_id: str) -> str:
    """The stream, or the merge, that rejected the row. Raises `NoSuchRow`."""
    for stream in (*STREAMS, *UNMERGED):
        if connection := quarantine_standing.connect(settings, stream):
            sql = "select 1 from standing where quarantine_id = ?"
            if direct_read.rows(connection, sql, quarantine_id):
                return stream
    raise NoSuchRow(quarantine_id)


def rejected_row(settings: Settings, quarantine_id: str) -> Iterator[str]:
    """Where the row stands, what was decided about it and when, its origin and original bytes. Raises `NoSuchRow`."""
    connection = quarantine_standing.connect(settings, stream_of(settings, quarantine_id))
    assert connection is not None
    cursor = connection.execute("select * from standing where quarantine_id = ?", [quarantine_id])
    names = [column[0] for column in cursor.description or ()]
    row = cursor.fetchone() or ()
    width = max(map(len, names))
    lines = [f"{column:<{width}}  {value!r}" for column, value in zip(names, row, strict=True) if value is not None]
    return iter([*lines, *_history(connection, quarantine_id)])


def _history(connection: DuckDBPyConnection, quarantine_id: str) -> Iterator[str]:
    """The rejection, and each decision since, oldest first."""
    sql = """select _ingested_at, 'rejected', reasons, rule_version, null, null from standing where quarantine_id = $id
             union all select decided_at, outcome, reasons, rule_version, why, requested_by
             from outcomes where quarantine_id = $id order by 1"""
    for at, outcome, reasons, version, why, by in connection.execute(sql, {"id": quarantine_id}).fetchall():
        said = "+".join(reasons or ()) or why or "in Bronze"
        asked = f", asked for by {by}" if by else ""
        yield f"{at:%Y-%m-%d %H:%M:%S}  {outcome.replace('_', ' ')}: {said} (rules {version}{asked})"


def alerts_raised(settings: Settings) -> list[dict[str, object]]:
    """All rows of `ops.alerts` as dictionaries, oldest first."""
    connection = direct_read.connect(settings, ALERTS.name)
    if direct_read.open_table(settings, ALERTS.name) is None:
        return []
    cursor = connection.execute('select * from "ops"."alerts" order by detected_at, alert_id')
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
