"""Changes that no merge could place (`ops.quarantine/silver_<table>`) and that an operator gives up.

They are rows of Bronze, so no stream owns them: whoever holds the lease of the Silver table decides about them. Merging
them again is `lakehouse batch replay`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import lakehouse
from lakehouse import delta_io, lease
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import SILVER_CAPTURED, quarantine_of, quarantine_outcomes_of
from quality import rules
from streaming import quarantine_standing
from streaming.quarantine_requests import Answer, Request
from streaming.quarantine_standing import DISCARDED, OPEN

log = get_logger(__name__)
WAIT_SECONDS = 600.0
"""A merge that runs is waited for."""
LISTED_ROWS = 1_000
"""Rows of an answer that are told one by one."""
TABLES = {table.rejects: table.name for table in SILVER_CAPTURED}


def discard(spark: SparkSession, settings: Settings, request: Request) -> Answer:
    """Give up the open rows that the request means; again it finds none of them open.

    Raises `LeaseHeld` when a merge of the table runs for longer than ten minutes, and `BadCondition`.
    """
    with lease.hold(lease.of_silver(TABLES[request.stream]), settings, WAIT_SECONDS) as held:
        for spec in (quarantine_of(request.stream), quarantine_outcomes_of(request.stream)):
            delta_io.ensure(spark, spec, settings)
        standing = quarantine_standing.read(spark, settings, request.stream)
        meant = standing.where(request.selection.column()).select("quarantine_id", "status").collect()
        chosen = sorted(row["quarantine_id"] for row in meant if row["status"] == OPEN)
        if chosen:
            held.require()
            _record(spark, settings, request, chosen)
    earlier: dict[str, int] = {}
    for row in meant:
        if row["status"] != OPEN:
            earlier[f"already_{row['status']}"] = earlier.get(f"already_{row['status']}", 0) + 1
    log.info("unmerged_changes_discarded", request=request.request_id, stream=request.stream, rows=len(chosen))
    told = [{"quarantine_id": one, "outcome": DISCARDED, "reasons": None, "why": request.why} for one in chosen]
    return Answer(({DISCARDED: len(chosen)} if chosen else {}) | earlier, told[:LISTED_ROWS])


def _record(spark: SparkSession, settings: Settings, request: Request, chosen: list[str]) -> None:
    spec = quarantine_outcomes_of(request.stream)
    known = {
        "request_id": F.lit(request.request_id),
        "outcome": F.lit(DISCARDED),
        "rule_version": F.lit(rules.VERSION),
        "code_version": F.lit(lakehouse.__version__),
        "why": F.lit(request.why),
        "requested_by": F.lit(request.requested_by),
        "decided_at": F.lit(datetime.now(UTC)),
    }
    ids = spark.createDataFrame([(one,) for one in chosen], "quarantine_id string")
    columns = [
        known.get(field.name, F.lit(None)).cast(field.dataType).alias(field.name)
        for field in spec.schema
        if field.name != "quarantine_id"
    ]
    delta_io.append(ids.select("quarantine_id", *columns).coalesce(1), spec, settings)
