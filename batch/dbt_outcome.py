"""What dbt says about its nodes, in our words: a log line, a sentence, a row of `ops.quality_results`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lakehouse.logs import get_logger
from quality.checks import Dimension
from quality.results import DBT_PREFIX, DID_NOT_RUN

log = get_logger(__name__)

LAYER: Final = "candidate"
PREFIX: Final = DBT_PREFIX
DIMENSIONS: Final[dict[str, Dimension]] = {
    "unique": "uniqueness",
    "unique_combination": "uniqueness",
    "not_null": "completeness",
    "accepted_values": "validity",
    "not_negative": "validity",
    "profit_not_above_amount": "validity",
    "relationships": "consistency",
    "never_true": "consistency",
    "same_total_as": "consistency",
    "recency": "timeliness",
}
"""Kind of test -> what it says about the data."""
EXPECTED: Final = {
    "unique": "each value once",
    "unique_combination": "each combination once",
    "not_null": "not null",
    "accepted_values": "one of the declared values",
    "not_negative": "0 or more",
    "profit_not_above_amount": "at most the amount",
    "relationships": "a row in the other table",
    "never_true": "false in each row",
    "same_total_as": "the total of the other table",
    "recency": "a day within the limit before the business date",
}


def is_test(result: Any) -> bool:
    """Whether the result is of a data test."""
    return bool(result.node.resource_type == "test")


def is_failure(result: Any) -> bool:
    """Whether the node failed, erred or never ran because one before it did. A warning is no failure."""
    return str(result.status) in ("error", "fail", "runtime error", "skipped", "partial success")


def sentence(result: Any) -> str:
    """The node's name and the first line of what it said."""
    lines = [line.strip() for line in (result.message or str(result.status)).splitlines() if line.strip()]
    return f"{result.node.name}: {' '.join(lines)[:300] if lines else result.status}"


def tested_table(result: Any) -> str:
    """`candidate.<model>`: the model that a test is about."""
    attached = result.node.attached_node or next(iter(result.node.depends_on.nodes), result.node.unique_id)
    return f"{LAYER}.{attached.rpartition('.')[2]}"


def quality_row(result: Any, row_counts: Mapping[str, int]) -> dict[str, Any]:
    """The columns of `ops.quality_results` that one test gives; `row_counts` are rows by table name."""
    node, table = result.node, tested_table(result)
    kind = node.test_metadata.name if node.test_metadata else node.name
    did_run = str(result.status) in ("pass", "warn", "fail")
    return {
        "layer": LAYER,
        "table_name": table,
        "dimension": DIMENSIONS.get(kind, "consistency"),
        "check_name": f"{PREFIX}{node.name}",
        "column_name": node.column_name or "",
        "is_success": str(result.status) == "pass",
        "rows_checked": row_counts.get(table) if did_run else None,
        "rows_failed": result.failures if did_run else None,
        "observed": f"{result.failures} failing" if did_run else DID_NOT_RUN + sentence(result)[:200],
        "expected": EXPECTED.get(kind, "no failing row"),
        "is_blocking": str(node.config.severity).lower() == "error",
    }


def log_finished_model(event: Any) -> None:
    """Log each model as it is finished; a callback of dbt's runner. The rest of its events is in its own log file."""
    if event.info.name == "LogModelResult":
        node = event.data.node_info
        log.info(
            "model_finished", model=node.node_name, status=node.node_status, seconds=round(event.data.execution_time, 1)
        )
