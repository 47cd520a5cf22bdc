"""The ledger is whole, also when the log of Bronze has expired, as Delta's does after 30 days."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from pyspark.sql.pandas.types import to_arrow_schema

from lakehouse import direct_read, ledger
from lakehouse.ledger_entry import Entry, OffsetRange
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS, LEDGER
from streaming import ledger_report
from streaming.ledger_verify import verify

STREAM = INVENTORY_EVENTS.table
TOPIC = "inventory.events"


def batch(number: int) -> Entry:
    return Entry(
        stream=STREAM,
        query_id="q",
        batch_id=number,
        ranges=(OffsetRange(TOPIC, 0, number * 3, number * 3 + 3),),
        rows_promised=3,
        rows_read=3,
        rows_written=2,
        filtered={"dropped": 1},
        first_event_at="2026-11-23T11:59:59.250000+00:00",
        topic_ids={TOPIC: "id"},
        ingested_at=f"2026-11-23 12:00:0{number}.000250",
        objects={"count": 1, "listed": [["s3://landing/a", "e"]]},
        warned={"rule": 1},
    )


GAP = Entry(STREAM, "", -1, (OffsetRange(TOPIC, 0, 6, 9),), 0, 0, 0, kind="gap", reason="lost", topic_ids={TOPIC: "id"})
ENTRIES = [batch(0), batch(1), GAP, batch(3)]


@pytest.fixture
def expired(settings: Settings) -> Settings:
    """Four entries, projected in time, and a commit without one; the log of Bronze begins at the last of the four."""
    bronze = INVENTORY_EVENTS.path(settings)
    kept = {"delta.logRetentionDuration": "interval 0 days"}
    rows = []
    for version, entry in enumerate(ENTRIES):
        stamp = datetime.fromisoformat(entry.ingested_at).replace(tzinfo=UTC) if entry.ingested_at else None
        held = pa.table({"_ingested_at": pa.array([stamp] * entry.rows_written, pa.timestamp("us", "UTC"))})
        told = CommitProperties(custom_metadata={"userMetadata": entry.to_json()})
        write_deltalake(bronze, held, mode="append", configuration=kept, commit_properties=told)
        rows.append(ledger._row(entry, version, datetime(2026, 11, 23, 12, tzinfo=UTC)))
    write_deltalake(LEDGER.path(settings), pa.Table.from_pylist(rows, to_arrow_schema(LEDGER.schema)))
    table = DeltaTable(bronze)
    table.create_checkpoint()
    table.cleanup_metadata()
    assert [one["version"] for one in DeltaTable(bronze).history()] == [3]
    return settings


def test_each_field_of_an_entry_is_kept() -> None:
    assert {one.name for one in fields(Entry)} <= set(LEDGER.columns)


def test_an_entry_outlives_its_commit(expired: Settings) -> None:
    assert list(direct_read.ledger_entries(expired, STREAM)) == ENTRIES


def test_the_counts_agree_and_the_gap_is_shown_when_the_log_has_expired(expired: Settings) -> None:
    assert [str(one) for one in verify(expired, with_broker=False) if not one.agrees] == []
    assert f"gap: {STREAM}, 2026-11-23: {TOPIC}/0 6-9 (lost)" in ledger_report.lines(expired)
