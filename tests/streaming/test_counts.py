"""What is counted while rows pass by on their way to the files."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import SparkSession

from streaming.counts import counted

ROW = "at timestamp, _reasons array<string>, _filtered_as string, _warnings array<string>"


def test_rows_that_break_a_rule_which_only_warns_are_counted_by_rule(spark: SparkSession) -> None:
    at = datetime(2026, 11, 23, 12)
    rows = [
        (at, None, None, None),
        (at, None, None, ["odd_email"]),
        (at, None, None, ["odd_email", "unknown_status"]),
        (None, ["oversize"], None, ["odd_email"]),
        (None, None, "tombstone", None),
    ]
    frame, counts = counted(spark.createDataFrame(rows, ROW), "at", ("odd_email", "unknown_status", "never_broken"))
    frame.write.format("noop").mode("overwrite").save()
    found = counts()
    assert (found.read, found.good, found.aside) == (5, 3, 2)
    assert found.warned == {"odd_email": 2, "unknown_status": 1}
