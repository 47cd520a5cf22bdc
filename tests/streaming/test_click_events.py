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
from streaming.click_events import _read, transform
from streaming.stamps import stamped
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


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else 1


def also(text: str) -> bytes:
    """A click and one more member."""
    return click()[:-1] + b"," + text.encode() + b"}"


# name: line, reasons
BAD = {
    "no UTF-8": (b'{"event_id":"\xff\xfe"}', "invalid_utf8"),
    "half a line": (click()[:40], "malformed_json"),
    "all but the last byte": (click()[:-1], "malformed_json"),
    "an array": (b"[" + click() + b"]", "malformed_json"),
    "a text": (b'"page_view"', "malformed_json"),
    "two lines in one": (click() + click(event_id="c2"), "malformed_json"),
    "two lines and a comma": (click() + b"," + click(event_id="c2"), "malformed_json"),
    "more after the object": (click() + b" x", "malformed_json"),
    "a member after the object": (click() + b',"b":{}', "malformed_json"),
    "a bracket too many": (click() + b"}", "malformed_json"),
    "single quotes": (b"{'event_id':'c1'}", "malformed_json"),
    "nested too deep": (click(extra=deep(40)), "nested_too_deep"),
    "oversize": (click(page_url="/" + "p" * 3000), "oversize"),
    "a number for the user": (click(user_id=5), "wrong_type:user_id"),
    "an object for the user": (click(user_id={"a": 1}), "wrong_type:user_id"),
    "a truth for the id": (click(event_id=True), "wrong_type:event_id"),
    "a number for the time": (click(timestamp=1795431600), "wrong_type:timestamp"),
    "a list for the properties": (click(properties=["P1"]), "wrong_type:properties"),
    "a text for the properties": (click(properties='{"product_id":"P1"}'), "wrong_type:properties"),
    "a name apart from its colon": (click().replace(b'"user_id": "u"', b'"user_id" : 7'), "wrong_type:user_id"),
    "a field twice": (also('"user_id":"v"'), "duplicate_field"),
    "a property twice": (click().replace(b'"P1"}', b'"P1","product_id":"P2"}'), "duplicate_field"),
    "no event id": (click(event_id=""), "missing_event_id"),
    "a word for the time": (click(timestamp="yesterday"), "bad_timestamp"),
    "a year for the time": (click(timestamp="2026"), "bad_timestamp"),
    "a date for the time": (click(timestamp="2026-11-23"), "bad_timestamp"),
    "only a time": (click(timestamp="11:00:00.250Z"), "bad_timestamp"),
    "a day that is none": (click(timestamp="2026-02-30T11:00:00Z"), "bad_timestamp"),
    "an unknown event type": (click(event_type="teleport"), "unknown_event_type"),
    "ten years ahead": (click(timestamp="2036-01-01T00:00:00Z"), "event_time_out_of_range"),
}
NUMBERS = '"a":1.10,"b":1e3,"c":12345678901234567890123,"d":-0.0'
GOOD = {
    "as declared": click(),
    "unknown fields": click(campaign="x", depth=3, device={"os": "iOS", "sizes": [1, 2]}, flag=True, nothing=None),
    "unknown numbers": also(NUMBERS),
    "a visitor who is not signed in": click(user_id=None),
    "optional fields are absent": b'{"event_id":"c","session_id":"s","event_type":"checkout",'
    b'"timestamp":"2026-11-23T11:00:00Z"}',
    "numbers in properties": click(properties={"product_id": "P1", "user_id": 5, "price": 1.5}),
    "hard texts": click(page_url='":" {"user_id":5} \\ \u00e9 \n'),
    "an unknown field hides behind a null": b'{"event_id":"c","session_id":"s","event_type":"checkout","x":"1",'
    b'"timestamp":"2026-11-23T11:00:00Z","properties":{"user_id":null}}',
    "another order and no blanks": b'{"timestamp":"2026-11-23T11:00:00Z","event_type":"checkout","session_id":"s",'
    b'"properties":{},"event_id":"c","user_id":"u","page_url":"/"}',
    "a field of no text": click(page_url=""),
    "no session id": click(session_id=None),
    "an empty session id": click(session_id=" "),
    "a renamed field": click().replace(b'"session_id"', b'"sessionId"'),
}  # fmt: skip
WITHOUT_SESSION = ("no session id", "an empty session id", "a renamed field")
LINES = [*[line for line, _ in BAD.values()], b"", b"  ", *GOOD.values()]
UNKNOWN: dict[str, dict[str, str | None]] = {
    "unknown fields": {
        "campaign": "x", "depth": "3", "device": '{"os":"iOS","sizes":[1,2]}', "flag": "true", "nothing": None,
    },
    # By value, as Spark writes them: its reader gives no number's own text.
    "unknown numbers": {"a": "1.1", "b": "1000.0", "c": "12345678901234567890123", "d": "-0.0"},
    "an unknown field hides behind a null": {"x": "1"},
    "a renamed field": {"sessionId": "s"},
}  # fmt: skip


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
        }
    )
    return transform(stamped(lines, F.lit(ARRIVED), F.lit(0)), WriterSchemas(), max_bytes=2000)


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


@pytest.mark.parametrize("case", GOOD)
def test_a_good_line_lands_with_what_is_not_declared_beside_it(judged: list[Any], case: str) -> None:
    row = judged[len(BAD) + 2 + list(GOOD).index(case)]
    assert (row["_reasons"], row["_filtered_as"]) == (None, None)
    assert row["_warnings"] == (["missing_session_id"] if case in WITHOUT_SESSION else None)
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
    declared = frame.drop("_raw", "_raw_key", "_reasons", "_filtered_as")
    assert delta_io.fits(declared, CLICK_EVENTS).columns == CLICK_EVENTS.columns


def test_a_line_as_collectors_write_it_is_read_once(spark: SparkSession) -> None:
    compact = json.dumps(json.loads(click(user_id=None, properties={"a": "1", "b": ":"})), separators=(",", ":"))
    lines = [click().decode(), click(properties={"a": "x", "b": "y"}).decode(), compact, click(user_id=5).decode()]
    frame = spark.createDataFrame([(line,) for line in lines], "value string")
    assert [row["is_plain"] for row in _read(frame, 2000, 32).collect()] == [True, True, True, False]
