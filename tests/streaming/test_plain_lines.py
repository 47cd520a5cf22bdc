"""A line that is read without a JSON reader gives the row that the JSON reader gives; any other line is left to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from click_lines import LINES, click, of_one_object
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_rows import ARRIVED
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from streaming import plain_lines
from streaming.click_events import transform, unread
from streaming.object_lines import lines_of
from streaming.stamps import stamped
from streaming.writer_schemas import WriterSchemas

MAX_BYTES = 1500
NAMES = ("event_id", "user_id", "session_id", "event_type", "page_url", "timestamp")
KINDS = "ttttttttns-"
"""Of a field: a text, null, something else, or absent."""
TEXTS = (
    "",
    "c1",
    "page_view",
    "2026-11-23T11:00:00.250Z",
    "null",
    "é€😀",
    "\x7f",
    "a b",
    ":",
    ",",
    "{",
    "}",
    '", "',
    "\n",
)
OTHERS = (True, 5, 1.5, -0.0, [], {}, ["P1"], {"a": {"b": "c"}})
NO_MAP = ("null", "{}", '""', "[]", "")
SPACES = ((",", ":"), (", ", ": "), (",", ": "), (", ", ":"), (" , ", " : "))
CHANGES = ("", "", "", "", "", "swap", "twice", "more", "two lines")
BYTES = (b'"', b"\\", b",", b":", b"{", b"}", b" ", b"\t", b"\x00", b"\xff", b"\xc3", b"n", b"\r", b"[", b"")
"""One of these in any place changes what a line is."""


def made(rng: Random) -> bytes:
    """A line that is plain, or nearly."""
    (comma, colon), is_ascii = rng.choice(SPACES[: rng.choice((2, 5))]), rng.random() < 0.2

    def member(name: str, kind: str) -> str:
        value = {"t": rng.choice(TEXTS), "n": None, "s": rng.choice(OTHERS)}[kind]
        if (name, kind) == ("timestamp", "t") and rng.random() < 0.8:
            value = "2026-11-23T11:00:00.250Z"
        if (name, kind) == ("event_type", "t") and rng.random() < 0.8:
            value = "page_view"
        return f'"{name}"{colon}{json.dumps(value, ensure_ascii=is_ascii)}'

    kinds = {name: rng.choice(KINDS) if rng.random() < 0.3 else "t" for name in NAMES}
    members = [member(name, kind) for name, kind in kinds.items() if kind != "-"]
    keys = rng.choices(("product_id", "a", "b", ""), k=rng.randrange(4))
    entries = [member(key, rng.choice("tttttttttns")) for key in keys]
    properties = rng.choice(NO_MAP) if rng.random() < 0.2 else f"{{{comma.join(entries)}}}"
    members += [f'"properties"{colon}{properties}'] if properties else []
    return _damaged(rng, _changed(rng, members, comma, colon).encode())


def _changed(rng: Random, members: list[str], comma: str, colon: str) -> str:
    change, place = rng.choice(CHANGES), rng.randrange(len(members) + 1)
    if members[place:] and change in ("swap", "twice"):
        members.append(members.pop(place) if change == "swap" else members[place])
    if change == "more":
        members.insert(place, f'"campaign"{colon}"x"')
    line = f"{{{comma.join(members)}}}"
    return line + rng.choice(("", ",", " ")) + line if change == "two lines" else line


def _damaged(rng: Random, line: bytes) -> bytes:
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 1, 2))):
        at = rng.randrange(len(line) + 1)
        line = line[:at] + rng.choice(BYTES) + line[at + rng.randrange(2) :]
    return line.replace(b"\n", b" ")


def judged(spark: SparkSession, chunk: Sequence[bytes], by_pieces: bool) -> list[dict[str, Any]]:
    text = b"".join(line + b"\n" for line in chunk)
    columns = dict(zip(plain_lines.COLUMNS, plain_lines.read(text, MAX_BYTES), strict=True)) if by_pieces else {}
    table = pa.table({"value": lines_of(text).view(pa.binary()), **columns, "_source_line": range(len(chunk))})
    raw = spark.createDataFrame(table).withColumns({"value": F.col("value").cast("string")} | of_one_object())
    return rows(
        transform(stamped(raw if by_pieces else unread(raw), F.lit(ARRIVED), F.lit(0)), WriterSchemas(), MAX_BYTES)
    )


def rows(frame: DataFrame) -> list[dict[str, Any]]:
    # A map as its entries: as a dictionary, one that holds a key twice would look like one that does not.
    maps = {name: F.map_entries(name) for name in ("properties", "_unknown_fields")}
    return [row.asDict(recursive=True) for row in frame.withColumns(maps).orderBy("_source_line").collect()]


def is_plain(*chunk: bytes) -> list[bool]:
    found: list[bool] = plain_lines.read(b"".join(line + b"\n" for line in chunk), 10**6)[0].to_pylist()
    return found


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_both_ways_give_the_same_rows(spark: SparkSession, seed: int) -> None:
    rng = Random(seed)
    chunk = [made(rng) for _ in range(2000)]
    assert sum(is_plain(*chunk)) > 80
    assert judged(spark, chunk, by_pieces=True) == judged(spark, chunk, by_pieces=False)


def test_both_ways_give_the_same_rows_of_known_lines(spark: SparkSession) -> None:
    assert judged(spark, LINES, by_pieces=True) == judged(spark, LINES, by_pieces=False)


COMPACT = json.dumps(json.loads(click(properties={"a": "1", "b": ":"})), separators=(",", ":")).encode()
PLAIN = {
    "with blanks": click(),
    "without blanks": COMPACT,
    "several properties": click(properties={"a": "x", "b": "y", "c": ""}),
    "a property twice, which is for the rules": click().replace(b'"P1"}', b'"P1","product_id":"P2"}'),
    "no property": click(properties={}),
    "nulls": click(user_id=None, session_id=None, properties=None),
    "all nulls": json.dumps(dict.fromkeys((*NAMES, "properties"))).encode(),
    "fields that are absent": b'{"event_id":"c","timestamp":"2026-11-23T11:00:00Z"}',
    "no field but the map": b'{"properties":{"a":"b"}}',
    "letters of other scripts": COMPACT.replace(b"/p/1", "/é€😀".encode()),
    "a bad time, which is for the rules": click(timestamp="yesterday"),
}
ODD = {
    "nothing": b"",
    "no field": b"{}",
    "a number": click(user_id=5),
    "a number in the properties": click(properties={"price": 1.5}),
    "a map in the properties": click(properties={"a": {"b": "c"}}),
    "an escape": click(page_url="a\\b"),
    "a control character": COMPACT.replace(b"/p/1", b"/\x01"),
    "no UTF-8": COMPACT.replace(b"/p/1", b"/\xff"),
    "a carriage return": COMPACT + b"\r",
    "another field": click(campaign="x"),
    "another order": b'{"user_id":"u","event_id":"c"}',
    "a field twice": b'{"event_id":"c","event_id":"d"}',
    "half a line": click()[:40],
    "the half before a quote": click()[: click().index(b'"u"') + 1],
    "all but the last byte": click()[:-1],
    "two in one": click() + click(),
    "a comma at the end": click()[:-1] + b",}",
    "a comma at the end of the properties": click().replace(b'"P1"}', b'"P1",}'),
    "a text for the properties": click(properties="x"),
    "a bracket too many": click() + b"}",
    "longer than a plain line may be": click(page_url="p" * plain_lines.LONGEST),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_line_as_collectors_write_it_needs_no_json_reader(case: str) -> None:
    assert is_plain(PLAIN[case]) == [True]


@pytest.mark.parametrize("case", ODD)
def test_any_other_line_is_left_to_the_json_reader_alone(case: str) -> None:
    assert is_plain(click(), ODD[case], click(), ODD[case]) == [True, False, True, False]


def test_a_line_beyond_the_limit_is_not_plain() -> None:
    line = click() + b"\n"
    assert [plain_lines.read(line, limit)[0].to_pylist() for limit in (len(line) - 1, len(line) - 2)] == [
        [True],
        [False],
    ]
