"""Which suites a layer has, and running them: `check_layer` is what each step of the night calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.errors import LakehouseError
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import CAPTURED, RUNS
from quality import (
    changes_suite,
    clicks_suite,
    customers_suite,
    inventory_suite,
    orders_suite,
    products_suite,
    sales_suite,
)
from quality.business_day import BusinessDay, business_day
from quality.checks import Suite
from quality.limits import Limits, limits_of
from quality.results import CheckResult, did_not_run, record
from quality.validation import Validator

log = get_logger(__name__)

LAYERS = ("bronze", "silver", "candidate")


@dataclass(frozen=True)
class LayerResult:
    """How the checks of a layer ended; `failures` are the sentences of the blocking ones that did not pass."""

    layer: str
    results: tuple[CheckResult, ...]

    @property
    def failures(self) -> list[str]:
        """Each blocking check that failed or did not run, in one line each."""
        return [one.sentence for one in self.results if one.check.is_blocking and not one.is_success]

    @property
    def warnings(self) -> list[str]:
        """Each other check that failed or did not run, in one line each."""
        return [one.sentence for one in self.results if not one.check.is_blocking and not one.is_success]


def check_layer(spark: SparkSession, settings: Settings, layer: str, business_date: date, run_id: str) -> LayerResult:
    """Run every suite of `layer` (bronze, silver or candidate) and record the results in `ops.quality_results`.

    A table that can't be read fails all its checks. Raises nothing for a failed check: the caller closes the gate on
    `LayerResult.failures`. Run again for the same `run_id`, it replaces what it recorded before.
    """
    limits, day = limits_of(settings), business_day(settings, business_date)
    totals = sales_suite.read_totals(spark, settings) if layer == "candidate" else sales_suite.UNKNOWN
    since = _bronze_since(spark, settings, day) if layer == "bronze" else None
    validator = Validator()
    results: list[CheckResult] = []
    for suite in suites_of(layer, limits, day, totals):
        try:
            rows = _rows(spark, settings, suite, since)
        except LakehouseError as error:
            results += [did_not_run(suite.table.name, check, str(error)) for check in suite.checks]
        else:
            results += validator.validate(suite, rows)
    record(spark, settings, layer, business_date, run_id, results)
    outcome = LayerResult(layer, tuple(results))
    log.info(
        "layer_checked",
        layer=layer,
        run_id=run_id,
        checks=len(results),
        failures=len(outcome.failures),
        warnings=len(outcome.warnings),
    )
    return outcome


def suites_of(
    layer: str, limits: Limits, day: BusinessDay, totals: sales_suite.Totals = sales_suite.UNKNOWN
) -> Iterable[Suite]:
    """The suites of a layer. Without `totals` their checks can't run."""
    if layer == "bronze":
        yield from (changes_suite.suite(captured, limits, day) for captured in CAPTURED)
        yield inventory_suite.bronze()
        yield clicks_suite.bronze()
    elif layer == "silver":
        yield orders_suite.silver(limits, day)
        yield customers_suite.silver(limits)
        yield products_suite.silver(limits)
        yield inventory_suite.silver()
        yield clicks_suite.silver()
        yield clicks_suite.sessions()
    else:
        yield sales_suite.order_lines(limits, totals)
        yield sales_suite.customers(limits)
        yield sales_suite.products(limits)
        yield sales_suite.daily_sales(limits, day, totals)


def _bronze_since(spark: SparkSession, settings: Settings, day: BusinessDay) -> datetime | None:
    """From when on Bronze is checked: the day's start, or earlier the newest night whose checks of Bronze passed. None
    means all of it.

    Bronze only grows, and what a night has passed can't change; what a night refused, and what came on days without
    one, nobody has passed.
    """
    if not delta_io.exists(spark, RUNS, settings):
        return None
    passed = delta_io.read(spark, RUNS, settings).where("step = 'bronze' and status = 'succeeded'")
    newest = passed.agg(F.max("started_at").alias("began")).where("began is not null")
    row = newest.select(F.least("began", F.lit(day.start))).first()
    return row[0] if row else None


def _rows(spark: SparkSession, settings: Settings, suite: Suite, since: datetime | None) -> DataFrame:
    rows = delta_io.read(spark, suite.table, settings)
    return rows.where(F.col("_ingested_at") >= F.lit(since)) if since else rows
