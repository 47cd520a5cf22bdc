"""What was decided about rejected rows: as rows of `ops.quarantine_outcomes`, and as the answer to a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import SparkSession

import lakehouse
from lakehouse import delta_io
from lakehouse.lease import Held
from lakehouse.settings import Settings
from lakehouse.tables import quarantine_outcomes_of
from quality import rules
from streaming.quarantine_requests import Answer, Request

LISTED_ROWS = 1_000
"""Rows of an answer that are told one by one."""
NOTHING: Mapping[str, int] = {}


@dataclass(frozen=True)
class Decision:
    """What becomes of one rejected row."""

    quarantine_id: str
    outcome: str
    reasons: list[str] | None = None
    why: str = ""


def record(
    spark: SparkSession, settings: Settings, request: Request, decisions: Sequence[Decision], held: Held
) -> None:
    """Write the decisions of a request down, in one commit. `held`: the lease of whoever decides."""
    made_by, now = (rules.VERSION, lakehouse.__version__), datetime.now(UTC)
    rows = [
        (one.quarantine_id, request.request_id, one.outcome, one.reasons, *made_by, one.why, request.requested_by, now)
        for one in decisions
    ]
    spec = quarantine_outcomes_of(request.stream)
    held.require()
    delta_io.append(spark.createDataFrame(rows, spec.schema).coalesce(1), spec, settings)


def answer(decisions: Sequence[Decision], earlier: Mapping[str, int] = NOTHING, left: int = 0) -> Answer:
    """Rows by outcome, those that were decided `earlier` among them, the first decisions, and how many are `left`."""
    counts = dict(Counter(one.outcome for one in decisions)) | dict(earlier)
    return Answer(counts, [vars(one) for one in decisions[:LISTED_ROWS]], left)
