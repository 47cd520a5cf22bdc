"""Moves readers to the candidate that passed its checks: one atomic commit per table, the record last.

`gold.<mart>` is a copy of the candidate (docs/decisions/0006-publish-by-copy.md). Its commit says which candidate it
is, so that a publication that was cut off goes on where it stopped. `ops.publications` gets one row per mart and run,
all in one commit and only when every copy was compared: its newest run names versions that belong together, and a
reader that wants all tables of one night reads those versions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from deltalake import DeltaTable
from pyspark.sql import SparkSession

from batch.marts import candidate, published
from lakehouse import delta_io
from lakehouse.direct_read import connect, open_table, rows
from lakehouse.errors import StepFailed, TableMissing
from lakehouse.identifiers import run_id as checked_run_id
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import MARTS, PUBLICATIONS, TableSpec

log = get_logger(__name__)

ORIGIN = "candidate"
"""Key in the metadata of a Gold commit: which candidate table, and which version of it, the commit holds."""


@dataclass(frozen=True)
class Moved:
    """Where readers of a mart are after a publication; `is_new` when this one moved them."""

    table_name: str
    candidate_version: int
    published_version: int
    row_count: int
    is_new: bool


def publish(spark: SparkSession, settings: Settings, business_date: date, run_id: str) -> int:
    """Let readers see the candidate. Returns the number of tables that changed; run again for `run_id` it changes none.

    Raises `TableMissing` where a mart was never built and `StepFailed` where a copy has another number of rows; then
    `ops.publications` still names the last good versions.
    """
    checked_run_id(run_id)
    # All of them first: nothing is moved where one was never built.
    origins = {mart: _origin(_opened(settings, candidate(mart))) for mart in MARTS}
    moved = [_move(spark, settings, mart, origin, run_id) for mart, origin in origins.items()]
    _record(spark, settings, business_date, run_id, moved)
    changed = [one.table_name for one in moved if one.is_new]
    log.info("gold_published", run_id=run_id, business_date=business_date, moved=changed)
    return len(changed)


def published_versions(settings: Settings) -> dict[str, int]:
    """`gold.<mart>` -> version of the newest complete publication; empty before the first. Needs no Spark."""
    if open_table(settings, PUBLICATIONS.name) is None:
        return {}
    newest = (
        "select table_name, published_version from ops.publications "
        "where run_id = (select run_id from ops.publications order by published_at desc limit 1)"
    )
    return dict(rows(connect(settings, PUBLICATIONS.name), newest))


def _move(spark: SparkSession, settings: Settings, mart: str, origin: dict[str, Any], run_id: str) -> Moved:
    source, target = candidate(mart), published(mart)
    rows_wanted = _row_count(_opened(settings, source, origin["version"]))
    is_new = not _holds(settings, target, origin, rows_wanted)
    if is_new:
        # One version of the candidate, whatever happens to it meanwhile.
        frame = delta_io.read(spark, source, settings, version=origin["version"])
        delta_io.replace(frame, target, settings, json.dumps({ORIGIN: origin, "run_id": run_id}))
    copy = _opened(settings, target)
    rows_found = _row_count(copy)
    if rows_found != rows_wanted:
        raise StepFailed(
            f"{target.name} has {rows_found} rows after it was copied from {source.name}, which has {rows_wanted}. "
            "ops.publications still names the last good versions; run the night again."
        )
    return Moved(target.name, origin["version"], copy.version(), rows_wanted, is_new)


# What follows reads logs and counts without Spark: in milliseconds, and by another reader than the one that copied.


def _opened(settings: Settings, spec: TableSpec, version: int | None = None) -> DeltaTable:
    table = open_table(settings, spec.name, version)
    if table is None:
        raise TableMissing(spec.name, spec.path(settings), delta_io.MADE_BY[spec.layer])
    return table


def _origin(table: DeltaTable) -> dict[str, Any]:
    # The version alone is not enough: a candidate that was removed and built anew counts from 0 again.
    return {"table_id": str(table.metadata().id), "version": table.version()}


def _row_count(table: DeltaTable) -> int:
    return int(table.to_pyarrow_dataset().count_rows())


def _holds(settings: Settings, target: TableSpec, origin: dict[str, Any], rows_wanted: int) -> bool:
    table = open_table(settings, target.name)
    if table is None:
        return False
    written = (json.loads(commit["userMetadata"]) for commit in table.history() if commit.get("userMetadata"))
    newest = next((one[ORIGIN] for one in written if ORIGIN in one), None)
    return bool(newest == origin) and _row_count(table) == rows_wanted


def _record(spark: SparkSession, settings: Settings, business_date: date, run_id: str, moved: list[Moved]) -> None:
    wanted = {(one.table_name, one.candidate_version, one.published_version, one.row_count) for one in moved}
    if set(_recorded(settings, run_id)) == wanted:
        return
    at = datetime.now(UTC)
    values = [(run_id, business_date, *one, at) for one in sorted(wanted)]
    frame = spark.createDataFrame(values, PUBLICATIONS.schema).coalesce(1)
    # In place of an earlier attempt of the same run: each run has one set of versions.
    delta_io.overwrite(frame, PUBLICATIONS, settings, where=f"run_id = '{run_id}'")


def _recorded(settings: Settings, run_id: str) -> list[tuple[Any, ...]]:
    if open_table(settings, PUBLICATIONS.name) is None:
        return []
    of_run = "select table_name, candidate_version, published_version, row_count from ops.publications where run_id = ?"
    return rows(connect(settings, PUBLICATIONS.name), of_run, run_id)
