"""The score's formula on numbers that were computed by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from batch import night as batch_night
from lakehouse.errors import GateClosed, StepFailed
from lakehouse.night_step import Step
from lakehouse.settings import Settings
from quality import score as scoring
from quality.score import ALL, Outcome, expected, overall, score_all, score_one, with_missing
from streaming import night as streaming_night

DAY = date(2026, 11, 23)


def outcome(name: str, dimension: str = "validity", table: str = "silver.orders", **values: object) -> Outcome:
    given = {"is_success": True, "is_blocking": True, "rows_checked": 1000, "rows_failed": 0} | values
    return Outcome(table, dimension, name, **given)  # type: ignore[arg-type]


def test_the_worked_example_of_the_documentation() -> None:
    checks = [
        outcome("fails", is_success=False, rows_failed=100),
        outcome("passes"),
        outcome("warns", is_blocking=False),
    ]
    score = score_one("silver.orders", "validity", checks)
    assert score.score == pytest.approx(76.42857)
    assert score.points_lost_by == (("fails", pytest.approx(23.57143)),)
    assert (score.checks_run, score.checks_failed) == (3, 1)


@pytest.mark.parametrize(
    ("values", "credit"),
    [
        ({"is_success": True}, 1.0),
        ({"is_success": True, "rows_checked": None, "rows_failed": None}, 1.0),
        ({"is_success": True, "rows_failed": 40}, 1.0),  # within the share that the check tolerates
        ({"is_success": False, "rows_failed": 1}, 0.4995),
        ({"is_success": False, "rows_failed": 1000}, 0.0),
        ({"is_success": False, "rows_failed": 5000}, 0.0),  # a dbt test may find more rows than its table has
        ({"is_success": False, "rows_checked": None, "rows_failed": None}, 0.0),
        ({"is_success": False, "rows_checked": 1000, "rows_failed": 0, "did_run": False}, 0.0),
    ],
)
def test_credit_of_a_check(values: dict[str, object], credit: float) -> None:
    assert outcome("any", **values).credit == pytest.approx(credit)


def test_a_check_that_did_not_run_costs_all_its_points() -> None:
    score = score_one(
        "silver.orders", "validity", [outcome("ran"), outcome("did not", is_success=False, did_run=False)]
    )
    assert score.score == 50
    assert (score.checks_run, score.checks_failed) == (1, 1)


def test_a_check_over_no_rows_is_neither_a_pass_nor_a_failure() -> None:
    scores = score_all([outcome("empty", rows_checked=0), outcome("fails", is_success=False, rows_failed=1000)])
    assert [one.score for one in scores] == [0, 0]
    nothing = score_all([outcome("empty", rows_checked=0)])
    assert [(one.table_name, one.score) for one in nothing] == [(ALL, 0)]


def test_the_overall_score_is_the_mean_weighted_by_dimension() -> None:
    scores = score_all(
        [
            outcome("unique", "uniqueness", is_success=False, rows_checked=None, rows_failed=None),
            outcome("fresh", "timeliness"),
            outcome("known", "validity", "gold.x"),
        ]
    )
    night = scores[-1]
    # (3 x 0 + 1 x 100 + 2 x 100) / 6
    assert (night.table_name, night.dimension, night.score) == (ALL, ALL, pytest.approx(50))
    assert night.points_lost_by == (("silver.orders: unique", pytest.approx(50)),)


def test_lost_points_add_up_to_what_is_missing() -> None:
    scores = score_all(
        [
            outcome("a", is_success=False, rows_failed=7),
            outcome("b", is_success=False, rows_failed=900, is_blocking=False),
            outcome("c", "uniqueness", is_success=False, rows_failed=3),
            outcome("d", "completeness"),
        ]
    )
    for score in scores:
        assert score.score + sum(points for _, points in score.points_lost_by) == pytest.approx(100)


def test_a_night_without_any_check_scores_nothing() -> None:
    assert overall([]).score == 0


def test_every_check_of_a_night_that_has_no_result_counts_as_failed() -> None:
    wanted = expected(Settings(), DAY)
    known = [
        outcome(one.check_name, one.dimension, one.table_name) for one in wanted if one.table_name != "silver.orders"
    ]
    night = score_all(with_missing(known, wanted))
    lost = {one.table_name: one.score for one in night if one.score < 100}
    assert set(lost) == {"silver.orders", ALL}
    assert lost["silver.orders"] == 0
    assert {"bronze.orders_changes", "candidate.fct_orders"} <= {one.table_name for one in wanted}


def test_one_dbt_test_stands_for_all_and_none_is_a_failure() -> None:
    wanted = expected(Settings(), DAY)
    without = with_missing([], wanted)
    assert "dbt:tests" in {one.check_name for one in without}
    with_one = with_missing([outcome("dbt:unique_fct_orders_order_id", "uniqueness", "candidate.fct_orders")], wanted)
    assert "dbt:tests" not in {one.check_name for one in with_one}


def test_trouble_with_the_score_does_not_hide_what_failed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def dead(*_: Any) -> float:
        raise ConnectionError("Spark is gone")

    monkeypatch.setattr(scoring, "record_scores", dead)
    spark: Any = None
    with (
        pytest.raises(GateClosed, match="1 check"),
        scoring.scored_if_it_fails(spark, settings, date(2026, 11, 23), "night-1"),
    ):
        raise GateClosed("candidate", ["orders"])
    assert "night_not_scored" in caplog.messages


@pytest.mark.parametrize(
    ("step", "first_move"),
    [(streaming_night.bronze, "lakehouse.ledger.project"), (batch_night.silver, "lakehouse.night_cut.recorded")],
)
def test_a_night_that_fails_before_gold_is_scored_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, step: Step, first_move: str
) -> None:
    scored: list[str] = []

    def fails(*_: Any) -> Any:
        raise StepFailed("Postgres is gone.")

    def record(_: Any, __: Any, ___: date, run_id: str) -> float:
        scored.append(run_id)
        return 0.0

    monkeypatch.setattr(first_move, fails)
    monkeypatch.setattr(scoring, "record_scores", record)
    spark: Any = None
    with pytest.raises(StepFailed, match="Postgres is gone"):
        step(spark, settings, DAY, "night-1")
    assert scored == ["night-1"]
