"""Running suites with Great Expectations on Spark DataFrames: one ephemeral context, one checkpoint per table.

Counts come back, values do not: with `partial_unexpected_count` 0 Great Expectations collects no sample of the rows
that failed (they may be names and addresses), and is spared one Spark job per expectation.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable
from itertools import count
from threading import Thread
from typing import Any

from pyspark.sql import DataFrame

from lakehouse.logs import get_logger
from quality.checks import Check, Suite
from quality.results import CheckResult, did_not_run

log = get_logger(__name__)

SMALL_BYTES = 64 << 20
RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": 0, "exclude_unexpected_values": True}


class Validator:
    """An ephemeral context of Great Expectations, made once and used for the tables of a layer."""

    def __init__(self) -> None:
        self._gx = gx = _load()
        from great_expectations.data_context.types import base

        config = base.DataContextConfig(
            # In memory, and without the folder for pages that the default makes.
            store_backend_defaults=base.InMemoryStoreBackendDefaults(),
            analytics_enabled=False,
            progress_bars=base.ProgressBarsConfig(globally=False),
        )
        self._context = gx.get_context(mode="ephemeral", project_config=config)
        # Whether a frame is worth keeping for its few queries is decided in `_read_once`.
        self._source = self._context.data_sources.add_spark("lakehouse", persist=False)
        self._numbers = count(1)

    def validate(self, suite: Suite, rows: DataFrame) -> list[CheckResult]:
        """One result for each check of the suite, in the suite's order. A check that could not run has failed."""
        name = suite.table.name
        able = [check for check in suite.checks if not check.lacks_its_measure]
        try:
            found = self._run(name, able, _read_once(suite.view(rows)))
        except Exception as trouble:  # whatever stops a checkpoint, its checks did not run
            log.error("suite_did_not_run", table=name, reason=str(trouble).partition("\n")[0])
            return [did_not_run(name, check, str(trouble)) for check in suite.checks]
        return [_result(name, check, found.get(check.name)) for check in suite.checks]

    def _run(self, name: str, checks: Iterable[Check], frame: DataFrame) -> dict[str, dict[str, Any]]:
        gx = self._gx
        # A context keeps what it was given by name, and a table may be validated twice.
        name = f"{name} {next(self._numbers)}"
        asset = self._source.add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe(name)
        expectations = [
            getattr(gx.expectations, check.kind)(**check.arguments, meta={"check": check.name}) for check in checks
        ]
        suite = self._context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        definition = self._context.validation_definitions.add(definition)
        checkpoint = gx.Checkpoint(name=name, validation_definitions=[definition], result_format=RESULT_FORMAT)
        checkpoint = self._context.checkpoints.add(checkpoint)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = checkpoint.run(batch_parameters={"dataframe": frame})
        # Their order is not the suite's: each result is found by the name that its expectation carries.
        return {
            one.expectation_config.meta["check"]: one.to_json_dict()
            for of_table in outcome.run_results.values()
            for one in of_table.results
        }


def load_ahead() -> None:
    """Import Great Expectations in a thread: seconds of Python that can pass while the JVM starts."""
    Thread(target=_load, name="great-expectations").start()


def _load() -> Any:
    # Read when the package is imported: with it set, nothing is reported to anyone.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations

    for name in ("great_expectations", "great_expectations.data_context.types.base"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return great_expectations


def _read_once(frame: DataFrame) -> DataFrame:
    # Great Expectations runs four or five queries on it. For a small table their planning is most of the time: one
    # partition that is read once halves it. A large one is read each time, column by column, and kept nowhere.
    size = frame._jdf.queryExecution().optimizedPlan().stats().sizeInBytes()
    return frame.coalesce(1).localCheckpoint() if int(str(size)) <= SMALL_BYTES else frame


def _result(table_name: str, check: Check, found: dict[str, Any] | None) -> CheckResult:
    if check.lacks_its_measure:
        return did_not_run(table_name, check, "what it compares with could not be read")
    if found is None:
        return did_not_run(table_name, check, "no result came back")
    trouble = _exception(found.get("exception_info") or {})
    if trouble:
        return did_not_run(table_name, check, trouble)
    result = found.get("result") or {}
    checked, failed = result.get("element_count"), result.get("unexpected_count")
    if checked and failed is None:
        return did_not_run(table_name, check, "the rows that fail were not counted")
    return CheckResult(
        table_name, check, bool(found["success"]), _observed(result), checked, 0 if checked == 0 else failed
    )


def _exception(info: dict[str, Any]) -> str:
    # Either one description, or one for each metric that failed.
    entries = [info] if "raised_exception" in info else [entry for entry in info.values() if isinstance(entry, dict)]
    raised = [entry for entry in entries if entry.get("raised_exception")]
    return str(raised[0].get("exception_message") or "an exception without a message") if raised else ""


def _observed(result: dict[str, Any]) -> str:
    if "observed_value" in result:
        return _text(result["observed_value"])
    checked, failed = result.get("element_count") or 0, result.get("unexpected_count") or 0
    return f"{failed:,} of {checked:,} rows differ" if checked else "no rows"


def _text(value: Any) -> str:
    if value is None:
        return "no value"
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)
