"""Whatever the order, the cut and the repetition of changes: one Silver, one history, and they are the source's."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest
from change_logs import THINGS, Database, Event, batches, fold, history, logs, present
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from table_rows import frame

from batch import captured_tables
from lakehouse import delta_io
from lakehouse.settings import Settings

# `make fuzz` sets both higher.
LOGS = int(os.environ.get("FUZZ_LOGS", "200"))
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "1"))


@given(st.integers(), st.integers(1, 40))
@effort(max_examples=300, deadline=None)
def test_the_fold_of_a_log_is_what_the_database_holds(seed: int, steps: int) -> None:
    database = Database(0, Random(seed))
    events = database.run(steps)
    Random(seed).shuffle(events)
    assert present(fold(events)) == {key: (*row, False) for key, row in database.rows.items()}


def land(spark: SparkSession, settings: Settings, events: list[Event]) -> None:
    rows = [event.bronze() for event in events]
    delta_io.append(frame(spark, THINGS.changes.schema, rows).coalesce(1), THINGS.changes, settings)


def live_rows(spark: SparkSession, settings: Settings) -> dict[Any, Any]:
    return {
        (row["log"], row["id"]): (row["amount"], row["note"], row["_unresolved_columns"] is not None)
        for row in delta_io.read(spark, THINGS.silver, settings).collect()
    }


def history_rows(spark: SparkSession, settings: Settings) -> list[Any]:
    names = ("log", "id", "amount", "note", "valid_from", "valid_to", "is_current")
    rows = delta_io.read(spark, THINGS.history, settings).select(*names).collect()
    return sorted([tuple(row) for row in rows], key=repr)


def wanted(events: list[Event]) -> tuple[dict[Any, Any], list[Any]]:
    by_log: dict[int, list[Event]] = {}
    for event in events:
        by_log.setdefault(event.log, []).append(event)
    live: dict[Any, Any] = {}
    past = []
    for log, own in by_log.items():
        versions = fold(own)
        live |= {(log, key): row for key, row in present(versions).items()}
        past += [(log, *row) for row in history(versions)]
    return live, sorted(past, key=repr)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(st.integers(0, 10**9))
@effort(max_examples=ROUNDS, deadline=None, derandomize=ROUNDS == 1)
def test_any_order_cut_and_repetition_gives_the_same_tables(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    settings = Settings(home=tmp_path_factory.mktemp("logs"), _env_file=None)  # type: ignore[call-arg]
    random = Random(seed)
    events, truth = logs([random.randrange(10**9) for _ in range(LOGS)])
    landed: list[Event] = []
    for batch in batches(events, random, count=3):
        land(spark, settings, batch)
        landed += batch
        captured_tables.run(spark, settings, THINGS)
        live, past = wanted(landed)
        assert live_rows(spark, settings) == live
        assert history_rows(spark, settings) == past
    ends = {(log, key): (*row, False) for log, rows in truth.items() for key, row in rows.items()}
    assert live_rows(spark, settings) == ends
