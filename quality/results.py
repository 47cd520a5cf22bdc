"""What became of each check, and its row in `ops.quality_results`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pyspark.sql import Row, SparkSession

from lakehouse import delta_io
from lakehouse.identifiers import run_id as checked_run_id
from lakehouse.settings import Settings
from lakehouse.tables import QUALITY_RESULTS
from quality.checks import Check

DBT_PREFIX = "dbt:"
"""`check_name` of a dbt test begins with it: dbt's rows have another writer, and a rerun of ours leaves them alone."""
DID_NOT_RUN = "did not run: "
REASON_LENGTH = 200


@dataclass(frozen=True)
class CheckResult:
    """How one check of one table ended; `rows_*` are None where the check is about the table and not its rows."""

    table_name: str
    check: Check
    is_success: bool
    observed: str
    rows_checked: int | None = None
    rows_failed: int | None = None

    @property
    def sentence(self) -> str:
        """One line for a person: which check, what was found, what was expected."""
        column = f" of {self.check.column}" if self.check.column else ""
        return f"{self.table_name}: {self.check.name}{column}: {self.observed} (expected {self.check.expected})"


def did_not_run(table_name: str, check: Check, reason: str) -> CheckResult:
    """The result of a check that could not run: never a pass."""
    first_line = next(iter(reason.strip().splitlines()), "no reason given")
    return CheckResult(table_name, check, False, DID_NOT_RUN + first_line[:REASON_LENGTH])


def record(
    spark: SparkSession,
    settings: Settings,
    layer: str,
    business_date: date,
    run_id: str,
    results: Sequence[CheckResult],
) -> None:
    """Put the results of one layer into `ops.quality_results` in one commit, in place of those of an earlier attempt.

    `layer` is ours (bronze, silver, candidate). Raises `UnsafeIdentifier` for a run id outside the grammar.
    """
    checked_at = datetime.now(UTC)
    rows = [_row(result, layer, business_date, run_id, checked_at) for result in results]
    frame = spark.createDataFrame(rows, QUALITY_RESULTS.schema).coalesce(1)
    ours = f"run_id = '{checked_run_id(run_id)}' and layer = '{layer}' and not startswith(check_name, '{DBT_PREFIX}')"
    delta_io.overwrite(frame, QUALITY_RESULTS, settings, where=ours)


def _row(result: CheckResult, layer: str, business_date: date, run_id: str, checked_at: datetime) -> Row:
    check = result.check
    values = {
        "run_id": run_id,
        "business_date": business_date,
        "layer": layer,
        "table_name": result.table_name,
        "dimension": check.dimension,
        "check_name": check.name,
        "column_name": check.column,
        "is_success": result.is_success,
        "rows_checked": result.rows_checked,
        "rows_failed": result.rows_failed,
        "observed": result.observed,
        "expected": check.expected,
        "is_blocking": check.is_blocking,
        "checked_at": checked_at,
    }
    return Row(**{name: values[name] for name in QUALITY_RESULTS.columns})
