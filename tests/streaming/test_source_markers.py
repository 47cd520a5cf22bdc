"""Debezium's transaction markers and heartbeats: what they say, and their bytes as the connector sent them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka_rows import frame_of, framed
from pyspark.sql import SparkSession

from lakehouse import delta_io
from lakehouse.tables import SOURCE_MARKERS
from streaming.source_markers import transform
from streaming.writer_schemas import WriterSchemas

NOW = 1_795_400_000_123
COUNTED = {
    "type": "record",
    "name": "Collection",
    "fields": [{"name": "data_collection", "type": "string"}, {"name": "event_count", "type": "long"}],
}
TRANSACTION = {
    "type": "record",
    "name": "TransactionMetadataValue",
    "fields": [
        {"name": "status", "type": "string"},
        {"name": "id", "type": "string"},
        {"name": "event_count", "type": ["null", "long"], "default": None},
        {
            "name": "data_collections",
            "type": ["null", {"type": "array", "items": ["null", COUNTED]}],
            "default": None,
        },
        {"name": "ts_ms", "type": "long"},
    ],
}
HEARTBEAT = {"type": "record", "name": "Heartbeat", "fields": [{"name": "ts_ms", "type": "long"}]}
KEY = framed({"type": "record", "name": "Key", "fields": [{"name": "id", "type": "string"}]}, {"id": "9:42"}, 5)
KNOWN = WriterSchemas(values={7: json.dumps(TRANSACTION), 8: json.dumps(HEARTBEAT)}, keys={})
COUNTS = [
    {"data_collection": "public.orders", "event_count": 2},
    {"data_collection": "public.heartbeats", "event_count": 1},
]


def transaction(status: str, **values: Any) -> bytes:
    given = {"status": status, "id": "9:42", "event_count": None, "data_collections": None, "ts_ms": NOW}
    return framed(TRANSACTION, given | values, 7)


BEGIN = transaction("BEGIN")
END = transaction("END", event_count=3, data_collections=COUNTS)
BEAT = framed(HEARTBEAT, {"ts_ms": NOW}, 8)
CUT = END[:-3]


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> list[Any]:
    values = [BEGIN, END, BEAT, None, CUT]
    return transform(frame_of(spark, values, [KEY] * len(values)), KNOWN).orderBy("_offset").collect()


def test_the_end_of_a_transaction_says_how_many_events_of_which_tables(rows: list[Any]) -> None:
    end = rows[1].asDict(recursive=True)
    assert (end["kind"], end["transaction_id"], end["event_count"]) == ("END", "9:42", 3)
    assert end["data_collections"] == COUNTS


def test_a_beginning_has_no_counts(rows: list[Any]) -> None:
    begin = rows[0]
    assert (begin["kind"], begin["transaction_id"]) == ("BEGIN", "9:42")
    assert (begin["event_count"], begin["data_collections"]) == (None, None)


def test_a_heartbeat_belongs_to_no_transaction(rows: list[Any]) -> None:
    beat = rows[2]
    assert (beat["kind"], beat["transaction_id"], beat["event_count"]) == ("heartbeat", None, None)


def test_the_time_of_each_marker_is_kept_to_the_millisecond(rows: list[Any]) -> None:
    sent = datetime.fromtimestamp(NOW / 1000, UTC).replace(microsecond=123_000)
    assert {row["marked_at"].replace(tzinfo=UTC) for row in rows[:3]} == {sent}


def test_good_markers_are_kept_as_the_connector_sent_them(rows: list[Any]) -> None:
    assert [bytes(row["_value"]) for row in rows[:3]] == [BEGIN, END, BEAT]
    assert [bytes(row["_key"]) for row in rows[:3]] == [KEY] * 3
    assert [(row["_reasons"], row["_raw"], row["_filtered_as"]) for row in rows[:3]] == [(None, None, None)] * 3


def test_a_null_value_is_rejected_and_no_tombstone(rows: list[Any]) -> None:
    nothing = rows[3]
    assert (nothing["_reasons"], nothing["_filtered_as"]) == (["null_value"], None)
    assert (nothing["_raw"], bytes(nothing["_raw_key"])) == (None, KEY)


def test_a_cut_marker_is_rejected_with_its_bytes(rows: list[Any]) -> None:
    cut = rows[4]
    assert (cut["_reasons"], bytes(cut["_raw"]), bytes(cut["_raw_key"])) == (["undecodable_body"], CUT, KEY)


def test_the_transform_gives_exactly_the_declared_columns(spark: SparkSession) -> None:
    out = transform(frame_of(spark, [BEGIN], [KEY]), KNOWN)
    declared = out.select(*[name for name in out.columns if name in SOURCE_MARKERS.columns])
    assert delta_io.fits(declared, SOURCE_MARKERS).columns == SOURCE_MARKERS.columns
