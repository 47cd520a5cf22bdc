"""What the quarantine and the alerts hold, as lines to print. Reads Delta directly: no Spark start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lakehouse import direct_read
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from lakehouse.tables import ALERTS, STREAMS, quarantine_of


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
    """Per stream and reason: how many rows, and the id of one of them."""
    yield f"{'stream':<22}{'reason':<28}{'rows':>6}  one of them"
    for stream in STREAMS:
        name = quarantine_of(stream).name
        if direct_read.open_table(settings, name) is None:
            continue
        sql = f"""select array_to_string(reasons, '+'), count(*), min(quarantine_id) from "ops"."quarantine/{stream}"
                  group by 1 order by 2 desc"""  # noqa: S608 - the name is ours
        for reason, count, example in direct_read.rows(direct_read.connect(settings, name), sql):
            yield f"{stream:<22}{reason:<28}{count:>6}  {example}"


def rejected_row(settings: Settings, quarantine_id: str) -> Iterator[str]:
    """The row's reasons, origin and original bytes. Raises `NoSuchRow`."""
    for stream in STREAMS:
        name = quarantine_of(stream).name
        if direct_read.open_table(settings, name) is None:
            continue
        sql = f"""select * from "ops"."quarantine/{stream}" where quarantine_id = ?"""  # noqa: S608 - the name is ours
        cursor = direct_read.connect(settings, name).execute(sql, [quarantine_id])
        names = [column[0] for column in cursor.description or ()]
        row = cursor.fetchone()
        if row:
            width = max(map(len, names))
            return (f"{column:<{width}}  {value!r}" for column, value in zip(names, row, strict=True))
    raise NoSuchRow(quarantine_id)


def alerts_raised(settings: Settings) -> list[dict[str, object]]:
    """All rows of `ops.alerts` as dictionaries, oldest first."""
    connection = direct_read.connect(settings, ALERTS.name)
    if direct_read.open_table(settings, ALERTS.name) is None:
        return []
    cursor = connection.execute('select * from "ops"."alerts" order by detected_at, alert_id')
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
