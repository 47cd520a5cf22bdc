"""Which rejected changes are named beside a difference: those that did not come back, to Bronze and to Silver."""

from __future__ import annotations

import pytest
from change_logs import THINGS
from pyspark.sql import SparkSession
from table_rows import frame

from batch import quarantined_keys
from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import quarantine_of, quarantine_outcomes_of

pytestmark = pytest.mark.slow


def test_a_change_that_was_replayed_is_named_no_more_and_one_that_was_discarded_is(
    spark: SparkSession, settings: Settings
) -> None:
    outcomes = {"a": "replayed", "b": "discarded", "c": "still_bad"}
    for stream in (THINGS.changes.table, THINGS.rejects):
        rejected, decided = quarantine_of(stream), quarantine_outcomes_of(stream)
        rows = [{"quarantine_id": one, "raw_key": f"{stream} {one}".encode()} for one in "abcd"]
        delta_io.append(frame(spark, rejected.schema, rows), rejected, settings)
        if stream == THINGS.rejects:
            every = [{"quarantine_id": one, "outcome": outcome} for one, outcome in outcomes.items()]
            delta_io.append(frame(spark, decided.schema, every), decided, settings)
    keys = quarantined_keys.raw(spark, settings, THINGS)
    expected = [f"things_changes {one}" for one in "abcd"] + [f"silver_things {one}" for one in "bcd"]
    assert sorted(key.decode() for key in keys if key) == sorted(expected)
