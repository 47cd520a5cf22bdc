"""The score of a night, 0 to 100 per table and dimension, and what took the points. Formula: docs/quality.md."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io, pushed_metrics
from lakehouse.identifiers import run_id as checked_run_id
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import QUALITY_RESULTS, QUALITY_SCORES
from quality.business_day import business_day
from quality.limits import limits_of
from quality.results import DBT_PREFIX, DID_NOT_RUN
from quality.suites import LAYERS, suites_of

log = get_logger(__name__)

DIMENSION_WEIGHTS: Mapping[str, int] = {
    "completeness": 3,
    "uniqueness": 3,
    "validity": 2,
    "consistency": 2,
    "timeliness": 1,
}
BLOCKING_WEIGHT = 3
WARNING_WEIGHT = 1
ALL = "all"
"""Table and dimension of the row that holds the score of the whole night."""
BEST = 100.0
OF_SCORE = ("table_name", "dimension", "score", "checks_run", "checks_failed")


@dataclass(frozen=True)
class Outcome:
    """What the score needs of one result. `rows_*` are None for a check that is about a table and not its rows."""

    table_name: str
    dimension: str
    check_name: str
    is_success: bool
    is_blocking: bool
    did_run: bool = True
    rows_checked: int | None = None
    rows_failed: int | None = None

    @property
    def weight(self) -> int:
        """How much the check counts in its table and dimension."""
        return BLOCKING_WEIGHT if self.is_blocking else WARNING_WEIGHT

    @property
    def had_nothing_to_judge(self) -> bool:
        """Whether it ran over no rows: that is neither a pass nor a failure."""
        return self.did_run and self.is_success and self.rows_checked == 0

    @property
    def credit(self) -> float:
        """1 for a pass; at most a half for a failure, the less the more rows fail; 0 for a check that did not run."""
        if self.is_success:
            return 1.0
        if not self.did_run or not self.rows_checked or self.rows_failed is None:
            return 0.0
        return 0.5 * (1 - min(1.0, self.rows_failed / self.rows_checked))


@dataclass(frozen=True)
class Score:
    """Score 0 to 100 of a table in a dimension; `points_lost_by` adds up to what is missing to 100."""

    table_name: str
    dimension: str
    score: float
    checks_run: int
    checks_failed: int
    points_lost_by: tuple[tuple[str, float], ...]


def score_night(spark: SparkSession, settings: Settings, business_date: date, run_id: str) -> float:
    """Record the scores of a run and push the overall one, which it returns."""
    score = record_scores(spark, settings, business_date, run_id)
    # One name for all steps: a night has one score, and the next good night takes its place.
    pushed_metrics.push_score(settings, "night_gold", score)
    return score


@contextmanager
def scored_if_it_fails(spark: SparkSession, settings: Settings, business_date: date, run_id: str) -> Iterator[None]:
    """A night whose block fails is scored too: the report must say what took the points. Trouble with the score is
    logged, and does not hide what failed.
    """
    try:
        yield
    except Exception:
        try:
            score_night(spark, settings, business_date, run_id)
        except Exception as trouble:
            log.error("night_not_scored", run_id=run_id, found=str(trouble)[:2000])
        raise


def record_scores(spark: SparkSession, settings: Settings, business_date: date, run_id: str) -> float:
    """Score the run from its rows in `ops.quality_results`, write `ops.quality_scores`, return the overall score.

    A check that belongs to the run and has no result counts as failed: a step that never came to its checks costs their
    points. Run again for the same `run_id`, it replaces its rows.
    """
    scores = score_all(with_missing(read_outcomes(spark, settings, run_id), expected(settings, business_date)))
    scored_at = datetime.now(UTC)
    rows = [
        (run_id, business_date, *(getattr(one, name) for name in OF_SCORE), list(one.points_lost_by), scored_at)
        for one in scores
    ]
    frame = spark.createDataFrame(rows, QUALITY_SCORES.schema).coalesce(1)
    delta_io.overwrite(frame, QUALITY_SCORES, settings, where=f"run_id = '{checked_run_id(run_id)}'")
    night = scores[-1]
    log.info("run_scored", run_id=run_id, score=round(night.score, 2), lost_by=night.points_lost_by[:5])
    return night.score


def read_outcomes(spark: SparkSession, settings: Settings, run_id: str) -> list[Outcome]:
    """The results of a run as the score sees them; none where nothing was checked yet."""
    if not delta_io.exists(spark, QUALITY_RESULTS, settings):
        return []
    results = delta_io.read(spark, QUALITY_RESULTS, settings).where(F.col("run_id") == run_id)
    return [
        Outcome(
            table_name=row["table_name"],
            dimension=row["dimension"],
            check_name=row["check_name"],
            is_success=row["is_success"],
            is_blocking=row["is_blocking"],
            did_run=not (row["observed"] or "").startswith(DID_NOT_RUN),
            rows_checked=row["rows_checked"],
            rows_failed=row["rows_failed"],
        )
        for row in results.collect()
    ]


def expected(settings: Settings, business_date: date) -> list[Outcome]:
    """Every check that a night has, as it counts when it has no result. dbt's tests stand for one check."""
    limits, day = limits_of(settings), business_day(settings, business_date)
    ours = [
        Outcome(suite.table.name, check.dimension, check.name, False, check.is_blocking, did_run=False)
        for layer in LAYERS
        for suite in suites_of(layer, limits, day)
        for check in suite.checks
    ]
    return [*ours, Outcome("candidate.all", "consistency", f"{DBT_PREFIX}tests", False, True, did_run=False)]


def with_missing(outcomes: Sequence[Outcome], wanted: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes, and those of `wanted` that have none; any test of dbt stands for dbt's tests."""
    known = {(one.table_name, one.check_name) for one in outcomes}
    has_dbt = any(one.check_name.startswith(DBT_PREFIX) for one in outcomes)
    missing = [
        one
        for one in wanted
        if (one.table_name, one.check_name) not in known and not (has_dbt and one.check_name.startswith(DBT_PREFIX))
    ]
    return [*outcomes, *missing]


def score_all(outcomes: Iterable[Outcome]) -> list[Score]:
    """The score of each table and dimension, and last the overall score as table `all`, dimension `all`."""
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if not outcome.had_nothing_to_judge:
            groups[outcome.table_name, outcome.dimension].append(outcome)
    scores = [score_one(table, dimension, groups[table, dimension]) for table, dimension in sorted(groups)]
    return [*scores, overall(scores)]


def score_one(table_name: str, dimension: str, outcomes: Sequence[Outcome]) -> Score:
    """100 x the mean credit of the checks, weighted by severity."""
    weight = sum(one.weight for one in outcomes)
    lost = [(one.check_name, BEST * one.weight * (1 - one.credit) / weight) for one in outcomes]
    did_run = sum(one.did_run for one in outcomes)
    return Score(table_name, dimension, BEST - _sum(lost), did_run, _failed(outcomes), _largest_first(lost))


def overall(scores: Sequence[Score]) -> Score:
    """The mean of the scores, weighted by dimension; 0 where there is none: a night without checks proves nothing."""
    weight = sum(DIMENSION_WEIGHTS[one.dimension] for one in scores)
    lost = [
        (f"{one.table_name}: {check}", points * DIMENSION_WEIGHTS[one.dimension] / weight)
        for one in scores
        for check, points in one.points_lost_by
    ]
    run, failed = sum(one.checks_run for one in scores), sum(one.checks_failed for one in scores)
    return Score(ALL, ALL, BEST - _sum(lost) if scores else 0.0, run, failed, _largest_first(lost))


def _failed(outcomes: Iterable[Outcome]) -> int:
    return sum(not one.is_success for one in outcomes)


def _sum(lost: Iterable[tuple[str, float]]) -> float:
    # Hundreds of parts of a point: what is left of their rounding is no score.
    return round(min(BEST, math.fsum(points for _, points in lost)), 9)


def _largest_first(lost: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((one for one in lost if one[1] > 0), key=lambda one: (-one[1], one[0])))
