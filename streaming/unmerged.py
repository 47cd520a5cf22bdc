"""Changes that no merge could place (`ops.quarantine/silver_<table>`) and that an operator gives up.

They are rows of Bronze, so no stream owns them: whoever holds the lease of the Silver table decides about them. Merging
them again is `lakehouse batch replay`.
"""

from __future__ import annotations

from collections import Counter

from pyspark.sql import SparkSession

from lakehouse import delta_io, lease
from lakehouse.logs import get_logger
from lakehouse.outcomes import DISCARDED
from lakehouse.settings import Settings
from lakehouse.tables import SILVER_CAPTURED, quarantine_of, quarantine_outcomes_of
from streaming import quarantine_standing
from streaming.decisions import Decision, answer, record
from streaming.quarantine_requests import Answer, Request
from streaming.quarantine_standing import OPEN

log = get_logger(__name__)
WAIT_SECONDS = 600.0
"""A merge that runs is waited for."""
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
        decisions = [Decision(one, DISCARDED, why=request.why) for one in chosen]
        if decisions:
            record(spark, settings, request, decisions, held)
    log.info("unmerged_changes_discarded", request=request.request_id, stream=request.stream, rows=len(chosen))
    earlier = Counter(f"already_{row['status']}" for row in meant if row["status"] != OPEN)
    return answer(decisions, earlier)
