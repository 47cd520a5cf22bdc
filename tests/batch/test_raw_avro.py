"""One Avro message -> the JSON that `batch.raw_json` reads, or the reason why it is none."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import fastavro
import pytest
from kafka_rows import framed

from batch.raw_avro import Opened, opened

DOUBLES = {"type": "array", "items": "double"}
ID = UUID("0190a1b2-0000-7000-8000-000000000001")


def opened_as(kind: Any, value: Any) -> Opened:
    schema = {"type": "record", "name": "Row", "fields": [{"name": "it", "type": kind}]}
    return opened(framed(schema, {"it": value}), {7: fastavro.parse_schema(schema)}, {7: "{}"})


def payload(kind: Any, value: Any) -> Any:
    """Strictly: Python's reader takes what is no JSON as well."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = opened_as(kind, value)
    assert found.text is not None, found.reason
    return json.loads(found.text, parse_constant=refuse)["payload"]["it"]


def test_doubles_that_are_no_numbers_are_text_however_deep() -> None:
    values = [float("nan"), float("inf"), float("-inf"), 1.5]
    spelled = ["NaN", "Infinity", "-Infinity", 1.5]
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "deep", "type": ["null", DOUBLES]}]}
    assert [payload("double", one) for one in values] == spelled
    assert payload(["null", "float"], float("nan")) == "NaN"
    assert payload(DOUBLES, values) == spelled
    assert payload({"type": "map", "values": DOUBLES}, {"a": values}) == {"a": spelled}
    assert payload(inner, {"deep": values}) == {"deep": spelled}


def test_a_uuid_is_its_text_however_deep() -> None:
    kind = {"type": "string", "logicalType": "uuid"}
    assert payload(kind, ID) == str(ID)
    assert payload({"type": "array", "items": ["null", kind]}, [ID, None]) == [str(ID), None]


def test_a_value_that_has_no_json_form_is_the_reason_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fastavro.read.LOGICAL_READERS, "double-phase", lambda value, *_: complex(0, value))
    kind = {"type": "double", "logicalType": "phase"}
    assert opened_as(kind, 1.5) == Opened(reason="no_json_form:complex")
    assert opened_as({"type": "array", "items": kind}, [1.5]) == Opened(reason="no_json_form:complex")


def test_no_message_and_a_null_have_neither_text_nor_reason() -> None:
    assert opened(None, {}, {}) == Opened()
    assert opened(framed('"null"', None), {7: fastavro.parse_schema("null")}, {7: "{}"}) == Opened()
