"""What dbt says about a test becomes a row of the quality results."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from batch import dbt_outcome


def outcome(status: str, failures: int | None = 0, severity: str = "ERROR", message: str | None = None) -> Any:
    node = SimpleNamespace(
        name="unique_fct_orders_order_id",
        resource_type="test",
        attached_node="model.lakehouse.fct_orders",
        column_name="order_id",
        test_metadata=SimpleNamespace(name="unique"),
        config=SimpleNamespace(severity=severity),
    )
    return SimpleNamespace(node=node, status=status, failures=failures, message=message)


def test_a_passed_test_is_a_success_over_all_rows_of_its_table() -> None:
    row = dbt_outcome.quality_row(outcome("pass"), {"candidate.fct_orders": 40})
    assert row == {
        "layer": "candidate",
        "table_name": "candidate.fct_orders",
        "dimension": "uniqueness",
        "check_name": "dbt:unique_fct_orders_order_id",
        "column_name": "order_id",
        "is_success": True,
        "rows_checked": 40,
        "rows_failed": 0,
        "observed": "0 failing",
        "expected": "each value once",
        "is_blocking": True,
    }


def test_a_warning_is_no_success_and_stops_nothing() -> None:
    result = outcome("warn", failures=3, severity="WARN")
    row = dbt_outcome.quality_row(result, {"candidate.fct_orders": 40})
    assert (row["is_success"], row["rows_failed"], row["is_blocking"]) == (False, 3, False)
    assert not dbt_outcome.is_failure(result)


@pytest.mark.parametrize("status", ["error", "skipped"])
def test_a_test_that_did_not_run_is_no_pass(status: str) -> None:
    result = outcome(status, failures=None, message="Table not found\nand more")
    row = dbt_outcome.quality_row(result, {"candidate.fct_orders": 40})
    assert (row["is_success"], row["rows_checked"], row["rows_failed"]) == (False, None, None)
    assert row["observed"].startswith("did not run: unique_fct_orders_order_id: Table not found")
    assert dbt_outcome.is_failure(result)


def test_an_exposure_that_does_nothing_is_no_failure() -> None:
    assert not dbt_outcome.is_failure(outcome("no-op"))
