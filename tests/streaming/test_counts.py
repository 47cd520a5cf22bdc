"""What is counted while rows pass by on their way to the files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession

from streaming.counts import counted, has_no_reason

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROW = "at timestamp, _reasons array<string>, _filtered_as string, _warnings array<string>"


def judged(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    return spark.createDataFrame(rows, ROW).withColumn("_is_good", has_no_reason())


def test_rows_that_break_a_rule_which_only_warns_are_counted_by_rule(spark: SparkSession) -> None:
    at = datetime(2026, 11, 23, 12)
    rows = [
        (at, None, None, None),
        (at, None, None, ["odd_email"]),
        (at, None, None, ["odd_email", "unknown_status"]),
        (None, ["oversize"], None, ["odd_email"]),
        (None, None, "tombstone", None),
    ]
    frame, counts = counted(judged(spark, *rows), "at", ("odd_email", "unknown_status", "never_broken"))
    frame.write.format("noop").mode("overwrite").save()
    found = counts()
    assert (found.read, found.good, found.aside) == (5, 3, 2)
    assert found.warned == {"odd_email": 2, "unknown_status": 1}


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is on a machine five hours west of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_event_times_are_the_same_wherever_the_machine_stands(spark: SparkSession) -> None:
    frame, counts = counted(judged(spark, (NOON, None, None, None)), "at")
    frame.write.format("noop").mode("overwrite").save()
    assert counts().last == counts().first == NOON
    assert counts().last.isoformat() == "2026-11-23T12:00:00+00:00"


def test_a_batch_without_good_rows_has_no_event_times(spark: SparkSession) -> None:
    frame, counts = counted(judged(spark, (NOON, ["oversize"], None, None)), "at")
    frame.write.format("noop").mode("overwrite").save()
    assert (counts().first, counts().last) == (None, None)
