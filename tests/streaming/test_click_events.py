"""Click lines: each kind of bad line is named and kept with its bytes; unknown fields are rescued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click_lines import BAD, GOOD, LINES, of_one_object
from kafka_rows import ARRIVED
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.tables import CLICK_EVENTS
from streaming.click_events import transform, unread
from streaming.counts import JUDGEMENT
from streaming.stamps import stamped
from streaming.writer_schemas import WriterSchemas

WARNED = {
    "no session id": ["missing_session_id"],
    "an empty session id": ["missing_session_id"],
    "a renamed field": ["missing_session_id"],
    "optional fields are absent": ["missing_page_url"],
    "an unknown field hides behind a null": ["missing_page_url"],
    "a field of no text": ["missing_page_url"],
    "a view of no product": ["missing_product_id"],
    "renamed properties": ["missing_product_id"],
}
UNKNOWN: dict[str, dict[str, str | None]] = {
    "unknown fields": {
        "campaign": "x", "depth": "3", "device": '{"os":"iOS","sizes":[1,2]}', "flag": "true", "nothing": None,
    },
    # By value, as Spark writes them: its reader gives no number's own text.
    "unknown numbers": {"a": "1.1", "b": "1000.0", "c": "12345678901234567890123", "d": "-0.0"},
    "an unknown field hides behind a null": {"x": "1"},
    "renamed properties": {"props": '{"product_id":"P1"}'},
    "a renamed field": {"sessionId": "s"},
}  # fmt: skip


@pytest.fixture(scope="module")
def frame(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Any:
    file: Path = tmp_path_factory.mktemp("clicks") / "lines.jsonl"
    file.write_bytes(b"\n".join(LINES) + b"\n")
    lines = spark.read.text(str(file)).withColumns(
        {"_source_line": F.monotonically_increasing_id() + 1} | of_one_object()
    )
    return transform(stamped(unread(lines), F.lit(ARRIVED), F.lit(0)), WriterSchemas(), max_bytes=2000)


@pytest.fixture(scope="module")
def judged(frame: Any) -> list[Any]:
    return list(frame.orderBy("_source_line").collect())


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_has_exactly_its_reason_and_keeps_its_bytes(judged: list[Any], case: str) -> None:
    row, (line, reason) = judged[list(BAD).index(case)], BAD[case]
    assert row["_reasons"] == [reason]
    assert (bytes(row["_raw"]), row["_etag"], row["_source_line"]) == (line, "etag", 1 + list(BAD).index(case))


def test_a_blank_line_is_filtered_by_name(judged: list[Any]) -> None:
    blank = judged[len(BAD) :][:2]
    assert [(row["_reasons"], row["_filtered_as"]) for row in blank] == [(None, "blank_line")] * 2


def test_what_is_not_good_is_rejected_or_filtered(judged: list[Any]) -> None:
    passes = [(row["_reasons"], row["_filtered_as"]) == (None, None) for row in judged]
    assert [row["_is_good"] for row in judged] == passes
    assert (True in passes, False in passes) == (True, True)


@pytest.mark.parametrize("case", GOOD)
def test_a_good_line_lands_with_what_is_not_declared_beside_it(judged: list[Any], case: str) -> None:
    row = judged[len(BAD) + 2 + list(GOOD).index(case)]
    assert (row["_reasons"], row["_filtered_as"]) == (None, None)
    assert row["_warnings"] == WARNED.get(case)
    assert row["_unknown_fields"] == UNKNOWN.get(case)


def good(judged: list[Any], case: str) -> Any:
    return judged[len(BAD) + 2 + list(GOOD).index(case)]


def test_a_good_line_is_typed(judged: list[Any]) -> None:
    row = good(judged, "as declared")
    assert (row["product_id"], str(row["event_date"]), row["event_hour"]) == ("P1", "2026-11-23", 11)
    assert good(judged, "numbers in properties")["properties"] == {"product_id": "P1", "user_id": "5", "price": "1.5"}
    assert good(judged, "hard texts")["page_url"] == '":" {"user_id":5} \\ \u00e9 \n'
    assert good(judged, "optional fields are absent")["user_id"] is None


def test_the_transform_gives_exactly_the_declared_columns(frame: Any) -> None:
    declared = frame.drop("_raw", "_raw_key", *JUDGEMENT)
    assert delta_io.fits(declared, CLICK_EVENTS).columns == CLICK_EVENTS.columns
