"""The ledger: one entry per micro-batch, written as the metadata of its Bronze commit so that it can't disagree
with the rows.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.ledger_entry import ENTRY, Entry, moment
from lakehouse.settings import Settings
from lakehouse.tables import BRONZE, LEDGER, TableSpec


def entries(spark: SparkSession, spec: TableSpec, settings: Settings, after_version: int = -1) -> list[dict[str, Any]]:
    """Ledger rows (columns of `ops.ledger`) of the Bronze commits after a version, oldest first."""
    if not delta_io.exists(spark, spec, settings):
        return []
    # Each commit is a file: streams write some ten thousand a day, and those that are known are not read again.
    new = delta_io.version(spark, spec, settings) - after_version
    if new < 1:
        return []
    history = delta_io.table(spark, spec, settings).history(new)
    commits = (
        history.where(F.col("version") > after_version)
        .where(F.col("userMetadata").contains(ENTRY))
        .select("version", "timestamp", "userMetadata")
        .orderBy("version")
        .collect()
    )
    return [_row(Entry.from_dict(json.loads(c["userMetadata"])[ENTRY]), c["version"], c["timestamp"]) for c in commits]


def _row(entry: Entry, table_version: int, committed_at: datetime) -> dict[str, Any]:
    return {
        **{name: value for name, value in asdict(entry).items() if name in LEDGER.columns},
        "rows_quarantined": entry.rows_quarantined,
        "objects": json.dumps(entry.objects) if entry.objects else None,
        "first_event_at": _moment(entry.first_event_at),
        "last_event_at": _moment(entry.last_event_at),
        "ingested_at": _moment(entry.ingested_at),
        "committed_at": committed_at,
        "table_version": table_version,
    }


def _moment(text: str | None) -> datetime | None:
    return moment(text) if text else None


def project(spark: SparkSession, settings: Settings) -> DataFrame:
    """Bring `ops.ledger` up to date with the Bronze commits and return it. Commits nothing when nothing is new."""
    delta_io.ensure(spark, LEDGER, settings)
    ledger = delta_io.read(spark, LEDGER, settings)
    known = {row[0]: row[1] for row in ledger.groupBy("stream").agg(F.max("table_version")).collect()}
    new = [row for spec in BRONZE for row in entries(spark, spec, settings, known.get(spec.table, -1))]
    if new:
        rows = [tuple(row[name] for name in LEDGER.columns) for row in new]
        delta_io.append(spark.createDataFrame(rows, LEDGER.schema), LEDGER, settings)
    return delta_io.read(spark, LEDGER, settings)
