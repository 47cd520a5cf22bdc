"""Inventory events: each kind of bad record is named and kept, and schema versions decode side by side."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka_rows import frame_of, framed, stock_event
from pyspark.sql import SparkSession

from lakehouse import delta_io
from lakehouse.tables import INVENTORY_EVENTS
from streaming.inventory_events import reader_schema, transform
from streaming.writer_schemas import WriterSchemas

SCHEMA = reader_schema()
KNOWN = WriterSchemas(values={7: SCHEMA})
GOOD = framed(SCHEMA, stock_event())

BAD: dict[str, bytes | None] = {
    "null_value": None,
    "bad_framing": b"\x01" + GOOD[1:],
    "unknown_schema_id": framed(SCHEMA, stock_event(), schema_id=9),
    "undecodable_body": GOOD[:12],
    "missing_event_id": framed(SCHEMA, stock_event(event_id="")),
    "missing_sku": framed(SCHEMA, stock_event(sku=" ")),
    "missing_warehouse_id": framed(SCHEMA, stock_event(warehouse_id="")),
    "unknown_movement": framed(SCHEMA, stock_event(movement="theft")),
    "negative_on_hand": framed(SCHEMA, stock_event(on_hand=-1)),
    "event_time_out_of_range": framed(SCHEMA, stock_event(occurred_at=datetime(2036, 1, 1, tzinfo=UTC))),
}


@pytest.fixture(scope="module")
def judged(spark: SparkSession) -> list[Any]:
    values = [GOOD, *BAD.values(), b"abc", framed(SCHEMA, stock_event(sku="", on_hand=-1))]
    return transform(frame_of(spark, values), KNOWN).orderBy("_offset").collect()


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_has_exactly_its_reason(judged: list[Any], reason: str) -> None:
    row = judged[1 + list(BAD).index(reason)]
    assert row["_reasons"] == [reason]


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_keeps_its_bytes(judged: list[Any], reason: str) -> None:
    row = judged[1 + list(BAD).index(reason)]
    kept = None if row["_raw"] is None else bytes(row["_raw"])
    assert kept == BAD[reason]


def test_a_good_record_has_no_reason_and_the_values_that_were_sent(judged: list[Any]) -> None:
    row = judged[0]
    assert row["_reasons"] is None
    assert (row["sku"], row["on_hand"], row["sequence"], row["_schema_id"]) == ("P1", 5, 1, 7)
    assert row["occurred_at"] == datetime(2026, 11, 23, 11, 59, 59)


def test_three_bytes_are_no_frame(judged: list[Any]) -> None:
    assert judged[-2]["_reasons"] == ["bad_framing"]


def test_all_broken_rules_are_recorded(judged: list[Any]) -> None:
    assert judged[-1]["_reasons"] == ["missing_sku", "negative_on_hand"]


def test_two_schema_versions_decode_in_one_pass(spark: SparkSession) -> None:
    newer = json.loads(SCHEMA)
    newer["fields"].append({"name": "reason", "type": ["null", "string"], "default": None})
    both = WriterSchemas(values={7: SCHEMA, 8: json.dumps(newer)})
    values = [GOOD, framed(newer, stock_event(event_id="e2", reason="broken"), schema_id=8)]
    rows = transform(frame_of(spark, values), both).orderBy("_offset").collect()
    assert [(row["event_id"], row["_schema_id"], row["_reasons"]) for row in rows] == [("e1", 7, None), ("e2", 8, None)]


def test_without_any_known_schema_every_framed_record_is_unknown(spark: SparkSession) -> None:
    rows = transform(frame_of(spark, [GOOD, b"abc"]), WriterSchemas()).orderBy("_offset").collect()
    assert [row["_reasons"] for row in rows] == [["unknown_schema_id"], ["bad_framing"]]


def test_the_transform_gives_exactly_the_declared_columns(spark: SparkSession) -> None:
    out = transform(frame_of(spark, [GOOD]), KNOWN)
    declared = out.drop("_raw", "_raw_key", "_reasons", "_filtered_as")
    assert delta_io.fits(declared, INVENTORY_EVENTS).columns == INVENTORY_EVENTS.columns
