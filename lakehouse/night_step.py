"""The frame of the night's Spark steps: arguments, a session, an outcome row each in `ops.runs`, whatever happens."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime

from pyspark.sql import SparkSession

from lakehouse import delta_io, lease, pushed_metrics
from lakehouse.errors import LeaseHeld, sentence_of
from lakehouse.identifiers import run_id
from lakehouse.lease import Held
from lakehouse.logs import get_logger, log_to_stderr
from lakehouse.session import build_session
from lakehouse.settings import Settings, load_settings
from lakehouse.tables import RUNS

log = get_logger(__name__)
LEASE = "night-steps"
WAIT_SECONDS = 3600.0
"""How long steps wait for others that still run: the first try of a task that is tried again, mostly."""
Step = Callable[[SparkSession, Settings, date, str], int]
"""(session, settings, business date, run id) -> rows processed."""


class SilverInUse(LeaseHeld):
    """A step of a night runs, or a command that writes Silver: Gold is built from the Silver that was compared."""

    SENTENCE = (
        "A step of a night or another command that writes Silver runs (the lease {name} is held by {holder}). "
        "Try again when it has ended: what a night has compared must not change before Gold is built from it."
    )


@contextmanager
def alone(settings: Settings, wait_seconds: float = 0, when_lost: Callable[[], None] = lambda: None) -> Iterator[Held]:
    """For the block no other night runs its steps, and no other command writes Silver. Raises `SilverInUse` when one
    still does after `wait_seconds`, and what `lease.hold` raises. Not to be nested.
    """
    with ExitStack() as leases:
        try:
            held = leases.enter_context(lease.hold(LEASE, settings, wait_seconds, when_lost))
        except LeaseHeld as error:
            raise SilverInUse(LEASE, error.holder) from None
        yield held


def run_steps(
    spark: SparkSession, settings: Settings, steps: Mapping[str, Step], business_date: date, run: str
) -> None:
    """Run steps alone, one after the other: others that run are waited for, and then there is nothing left to do for
    most. The first that fails is the last.

    Writes the outcome of each to `ops.runs`. Raises what a step raises, `SilverInUse` after an hour, and `LeaseLost`.
    """
    # Between the steps as well: Gold is built from the Silver that was compared. The merges of a step do not ask for
    # the lease one by one: without a session none of them can commit.
    with alone(settings, WAIT_SECONDS, when_lost=spark.stop) as held:
        for name, step in steps.items():
            try:
                _run_step(spark, settings, name, step, business_date, run)
            except Exception:
                # Where the lease was lost, what the step ran into is only what followed from it.
                held.require()
                raise
            held.require()


def _run_step(spark: SparkSession, settings: Settings, name: str, step: Step, business_date: date, run: str) -> None:
    started, clock = datetime.now(UTC), time.monotonic()
    rows, status, message = 0, "failed", ""
    try:
        rows = step(spark, settings, business_date, run)
        status = "succeeded"
    except Exception as error:
        message = str(error)[:2000]
        raise
    finally:
        seconds = time.monotonic() - clock
        columns = (run, business_date, name, status, started, datetime.now(UTC), seconds, rows, message)
        is_recorded = False
        try:
            outcome = spark.createDataFrame([columns], RUNS.schema)
            # One row per step and run: a repeated step replaces its earlier outcome.
            delta_io.overwrite(outcome, RUNS, settings, where=f"run_id = '{run_id(run)}' and step = '{name}'")
            is_recorded = True
        except Exception as trouble:
            if status == "succeeded":
                raise
            # Where Spark is dead no row can be written; what the step ran into is the cause, and stays it.
            log.error("night_step_not_recorded", step=name, found=str(trouble)[:2000])
        finally:
            has_succeeded = status == "succeeded" and is_recorded
            pushed_metrics.push_run(settings, f"night_{name}", seconds, rows, succeeded=has_succeeded)
            log.info("night_step_ended", step=name, status=status, rows=rows, seconds=round(seconds, 1))


def main(steps: Mapping[str, Step]) -> None:
    """Run the steps that the command line names, one after the other, in one session.

    The first that fails is the last. Our own errors and a full disk become one sentence and exit code 1.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", nargs="+", choices=list(steps))
    parser.add_argument("--business-date", type=date.fromisoformat, required=True)
    parser.add_argument("--run-id", type=run_id, required=True)
    given = parser.parse_args()
    log_to_stderr()
    try:
        settings = load_settings()
        spark = build_session(settings, f"lakehouse-night-{'-'.join(given.steps)}")
        chosen = {name: steps[name] for name in given.steps}
        run_steps(spark, settings, chosen, given.business_date, given.run_id)
    except Exception as error:
        told = sentence_of(error)
        if told is None:
            raise
        # In one line: who follows the output takes the indentation away, and could not tell what belongs to it.
        sys.exit(f"lakehouse: {' '.join(told.split())}")
