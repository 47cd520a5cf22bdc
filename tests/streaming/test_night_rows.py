"""How many rows of the shop a night has seen: what comes by itself would hide that nothing came."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from table_rows import frame

from lakehouse.tables import LEDGER
from streaming.night import rows_of_the_shop

pytestmark = pytest.mark.slow


def test_heartbeats_markers_and_replays_are_no_rows_of_the_shop(spark: SparkSession) -> None:
    def rows(*entries: tuple[str, str, int]) -> int:
        values = [{"stream": stream, "kind": kind, "rows_read": number} for stream, kind, number in entries]
        return rows_of_the_shop(frame(spark, LEDGER.schema, values))

    by_itself = [("heartbeats_changes", "batch", 1440), ("source_markers", "batch", 99), ("clicks", "replay", 5)]
    assert rows(*by_itself) == 0
    assert rows(*by_itself, ("orders_changes", "batch", 7), ("click_events", "batch", 3)) == 10
