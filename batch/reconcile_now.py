"""A comparison with Postgres outside of a night: a cut now, its changes to Bronze and Silver, buckets, keys, repair."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from batch import differences, fold_again, reconcile, repair
from batch.differences import Difference
from batch.reconcile import Comparison
from batch.repair import Repaired, RowsNotReadAgain
from lakehouse import arrival, lease, source_rows
from lakehouse.errors import StepFailed
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut, reading
from lakehouse.tables import CapturedTable

STREAM = (sys.executable, "-m", "lakehouse.cli", "stream", "changes", "--until-caught-up", "--short-lived")
CatchUp = Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """What a comparison found; `keys` are named only where they were asked for."""

    run: str
    cut: SourceCut
    tables: list[Comparison]
    keys: list[Difference]

    @property
    def agrees(self) -> bool:
        """Whether Silver equals Postgres at the cut."""
        return not any(one.differing for one in self.tables)


def run_streams(settings: Settings, tables: Sequence[CapturedTable]) -> CatchUp:
    """Take the changes to Bronze in a driver of its own; do nothing where the streams run.

    What it returns raises `StepFailed` when that driver fails.
    """

    def catch_up() -> None:
        # Named as the stream names it.
        if any(lease.is_held(f"stream-{table.changes.table}", settings) for table in tables):
            return
        ended = subprocess.run(STREAM, capture_output=True, text=True, check=False)
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            raise StepFailed(f"`lakehouse stream changes --until-caught-up` failed: {last}")

    return catch_up


def compare(
    settings: Settings,
    tables: Sequence[CapturedTable],
    session: Callable[[], SparkSession],
    catch_up: CatchUp,
    with_keys: bool = False,
) -> Outcome:
    """Compare the tables at a cut of this moment. `session` is called once Bronze may be read.

    Where keys are to be named, the cut's transaction stays open until then, so that both sides are of one moment.
    """
    keys: list[Difference] = []
    with ExitStack() as open_cut:
        connection, cut = open_cut.enter_context(reading(settings))
        sources = source_rows.count(connection, settings, tables)
        if not with_keys:
            open_cut.close()
        ends = arrival.ends_after_beat(settings, tables)
        catch_up()
        spark = session()
        arrival.wait_for_bronze(spark, settings, ends, tables)
        _, found = reconcile.merge_and_compare(spark, settings, cut, sources)
        if with_keys:
            keys = [one for table in found for one in differences.of(spark, settings, connection, table)]
    now = datetime.now(UTC)
    run = f"by-hand-{now:%Y%m%dT%H%M%S.%f}"
    reconcile.record(spark, settings, run, now.date(), cut, found)
    return Outcome(run, cut, found, keys)


def repair_keys(spark: SparkSession, settings: Settings, outcome: Outcome) -> dict[str, Repaired]:
    """Make the doubled and extra rows of an outcome with keys anew from Bronze, ask Debezium for the lost and changed
    ones, and write it down; returns table -> what was done.

    Raises `RowsNotReadAgain` where not all came, after all tables were asked for and that was written down too.
    """
    done, short = {}, list[RowsNotReadAgain]()
    for one in outcome.tables:
        table = one.source.table
        if found := [key for key in outcome.keys if key.table.name == table.name]:
            unaccounted = [key.key for key in repair.foldable(found)]
            fold_again.fold_again(spark, settings, table, unaccounted)
            read = repair.ask(settings, found, one.source.shape)
            done[table.name] = Repaired(read, len(unaccounted))
            repair.record(spark, settings, outcome.run, table.name, found, done[table.name], outcome.cut)
            short += repair.missing(found, read)
    if short:
        raise short[0]
    return done
