"""How many rows of the shop a night has seen (what comes by itself would hide that nothing came), and what it keeps of
the ledger although it fails.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from pyspark.sql import SparkSession
from table_rows import frame

from lakehouse import source_rows
from lakehouse.errors import ServiceUnreachable
from lakehouse.ledger_entry import Entry
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS, LEDGER
from streaming import night
from streaming.night import rows_of_the_shop

pytestmark = pytest.mark.slow


def test_heartbeats_markers_and_replays_are_no_rows_of_the_shop(spark: SparkSession) -> None:
    def rows(*entries: tuple[str, str, int]) -> int:
        values = [{"stream": stream, "kind": kind, "rows_read": number} for stream, kind, number in entries]
        return rows_of_the_shop(frame(spark, LEDGER.schema, values))

    by_itself = [("heartbeats_changes", "batch", 1440), ("source_markers", "batch", 99), ("clicks", "replay", 5)]
    assert rows(*by_itself) == 0
    assert rows(*by_itself, ("orders_changes", "batch", 7), ("click_events", "batch", 3)) == 10


def commit(settings: Settings, number: int) -> None:
    """A batch of the stream of stock events, in the log of its table alone."""
    entry = Entry(INVENTORY_EVENTS.table, "q", number, (), 1, 1, 1)
    told = CommitProperties(custom_metadata={"userMetadata": entry.to_json()})
    path = INVENTORY_EVENTS.path(settings)
    write_deltalake(path, pa.table({"event_id": [str(number)]}), mode="append", commit_properties=told)


def test_a_night_that_fails_has_kept_the_ledger_and_reads_no_entry_twice(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_: Settings) -> None:
        raise ServiceUnreachable("Postgres", "127.0.0.1:1", "Start it.")

    def kept_by_a_night() -> list[int]:
        with pytest.raises(ServiceUnreachable):
            night.bronze(spark, settings, date(2026, 11, 23), "failed")
        return sorted(row["batch_id"] for row in spark.read.format("delta").load(LEDGER.path(settings)).collect())

    monkeypatch.setattr(source_rows, "read", down)
    commit(settings, 0)
    commit(settings, 1)
    assert kept_by_a_night() == [0, 1]
    DeltaTable(INVENTORY_EVENTS.path(settings)).create_checkpoint()
    # Whoever opens the first commit again fails.
    Path(INVENTORY_EVENTS.path(settings), "_delta_log", f"{0:020}.json").write_text("no commit", "utf-8")
    commit(settings, 2)
    assert kept_by_a_night() == [0, 1, 2]
