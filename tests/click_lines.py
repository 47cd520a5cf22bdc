"""Click lines of each kind, good and bad."""

from __future__ import annotations

import json
from typing import Any

from kafka_rows import ARRIVED
from pyspark.sql import Column
from pyspark.sql import functions as F


def of_one_object() -> dict[str, Column]:
    """What all lines of one object have in common, as the reader of objects gives it."""
    return {
        "_source_file": F.lit("s3://landing/clicks/a.jsonl"),
        "_etag": F.lit("etag"),
        "_object_fault": F.lit(None).cast("string"),
        "_topic": F.lit("clicks.objects"),
        "_partition": F.lit(0),
        "_offset": F.lit(3).cast("bigint"),
        "_kafka_at": F.lit(ARRIVED),
    }


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
    "a brace": (b"{", "malformed_json"),
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
    "a field three times": (also('"user_id":"v","user_id":"w"'), "duplicate_field"),
    "an undeclared field twice": (also('"x":1,"x":2'), "duplicate_field"),
    "a key twice deeper down": (also('"x":{"a":1,"a":2}'), "duplicate_field"),
    "a key twice far down": (also('"x":[{"y":{"a":1,"a":2}}]'), "duplicate_field"),
    "a wrong type beside it": (click(user_id=7)[:-1] + b',"x":{"a":1,"a":2}}', "duplicate_field"),
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
    "a view of no product": click(properties={}),
    "renamed properties": click().replace(b'"properties"', b'"props"'),
    "a renamed field": click().replace(b'"session_id"', b'"sessionId"'),
}  # fmt: skip
LINES = [*[line for line, _ in BAD.values()], b"", b"  ", *GOOD.values()]
