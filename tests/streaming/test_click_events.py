"""Click lines: each kind of bad line is named and kept with its bytes; unknown fields are rescued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kafka_rows import ARRIVED
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.tables import CLICK_EVENTS
from streaming.click_events import transform
from streaming.writer_schemas import WriterSchemas


def click(**values: Any) -> bytes:
    fields = {
        "event_id": "c1",
        "user_id": "u",
        "session_id": "s",
        "event_type": "product_view",
        "page_url": "/p/1",
        "timestamp": "2026-11-23T11:00:00.250Z",
        "properties": {"product_id": "P1"},
    } | values
    return json.dumps(fields).encode()


BAD = {
    "invalid_utf8": b'{"event_id":"\xff\xfe"}',
    "malformed_json": click()[:40],
    "missing_event_id": click(event_id=""),
    "missing_session_id": click(session_id=None),
    "bad_timestamp": click(timestamp="yesterday"),
    "unknown_event_type": click(event_type="teleport"),
    "event_time_out_of_range": click(timestamp="2036-01-01T00:00:00Z"),
}
LINES = [click(), *BAD.values(), b"[" + click() + b"]", b"", click(campaign="x", depth=3)]


@pytest.fixture(scope="module")
def frame(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Any:
    file: Path = tmp_path_factory.mktemp("clicks") / "lines.jsonl"
    file.write_bytes(b"\n".join(LINES) + b"\n")
    lines = spark.read.text(str(file)).withColumns(
        {
            "_source_line": F.monotonically_increasing_id() + 1,
            "_source_file": F.lit("s3://landing/clicks/a.jsonl"),
            "_etag": F.lit("etag"),
            "_object_fault": F.lit(None).cast("string"),
            "_topic": F.lit("clicks.objects"),
            "_partition": F.lit(0),
            "_offset": F.lit(3).cast("bigint"),
            "_kafka_at": F.lit(ARRIVED),
            "_ingested_at": F.lit(ARRIVED),
            "_batch_id": F.lit(0).cast("bigint"),
        }
    )
    return transform(lines, WriterSchemas())


@pytest.fixture(scope="module")
def judged(frame: Any) -> list[Any]:
    return list(frame.orderBy("_source_line").collect())


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_line_has_exactly_its_reason_and_keeps_its_bytes(judged: list[Any], reason: str) -> None:
    row = judged[1 + list(BAD).index(reason)]
    assert row["_reasons"] == [reason]
    assert bytes(row["_raw"]) == BAD[reason]


def test_an_array_is_malformed(judged: list[Any]) -> None:
    assert judged[-3]["_reasons"] == ["malformed_json"]


def test_a_blank_line_is_filtered_by_name(judged: list[Any]) -> None:
    assert (judged[-2]["_reasons"], judged[-2]["_filtered_as"]) == (None, "blank_line")


def test_unknown_fields_are_rescued(judged: list[Any]) -> None:
    assert judged[-1]["_reasons"] is None
    assert judged[-1]["_unknown_fields"] == {"campaign": "x", "depth": "3"}


def test_a_good_line_is_typed(judged: list[Any]) -> None:
    row = judged[0]
    assert (row["product_id"], str(row["event_date"]), row["event_hour"]) == ("P1", "2026-11-23", 11)
    assert row["_unknown_fields"] is None


def test_the_transform_gives_exactly_the_declared_columns(frame: Any) -> None:
    declared = frame.drop("_raw", "_raw_key", "_reasons", "_filtered_as")
    assert delta_io.fits(declared, CLICK_EVENTS).columns == CLICK_EVENTS.columns
