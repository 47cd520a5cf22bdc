"""Inventory events: each kind of bad record is named and kept, and what each change of the schema does."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka_rows import frame_of, framed, stock_event
from pyspark.sql import SparkSession

from lakehouse import delta_io
from lakehouse.contracts.declared import inventory_fields, inventory_schema
from lakehouse.tables import INVENTORY_EVENTS
from streaming import inventory_events
from streaming.counts import JUDGEMENT
from streaming.framing import END_BYTES
from streaming.inventory_events import transform
from streaming.writer_schemas import WriterSchemas

SCHEMA = inventory_schema()
KNOWN = WriterSchemas(values={7: SCHEMA})
GOOD = framed(SCHEMA, stock_event())
MAX_BYTES = 200

BAD: dict[str, bytes | None] = {
    "null_value": None,
    "bad_framing": b"\x01" + GOOD[1:],
    "unknown_schema_id": framed(SCHEMA, stock_event(), schema_id=9),
    "undecodable_body": GOOD[:12],
    "trailing_bytes": GOOD + b"\x00",
    "oversize": framed(SCHEMA, stock_event(sku="P" * 300)),
    "invalid_utf8": framed(SCHEMA, stock_event(sku="\u00e9")).replace("\u00e9".encode(), b"\xc3\x28"),
    "missing_event_id": framed(SCHEMA, stock_event(event_id="")),
    "missing_sku": framed(SCHEMA, stock_event(sku=" ")),
    "missing_warehouse_id": framed(SCHEMA, stock_event(warehouse_id="")),
    "unknown_movement": framed(SCHEMA, stock_event(movement="theft")),
    "event_time_out_of_range": framed(SCHEMA, stock_event(occurred_at=datetime(2036, 1, 1, tzinfo=UTC))),
}
RANDOM = random.Random(4)
# Two of these end, or begin, like the mark that the decoder appends; the last says that it is 1.4 GB of text.
TAILS = [RANDOM.randbytes(length) for length in range(1, 25)] + [GOOD[5:], END_BYTES[:7], END_BYTES[1:]]
CUTS = [GOOD[:length] for length in range(5, len(GOOD))]
OVERSOLD = framed(SCHEMA, stock_event(on_hand=-1))
HUGE = GOOD[:5] + bytes.fromhex("80e89cd70a") + b"abc"


@pytest.fixture(scope="module")
def judged(spark: SparkSession) -> list[Any]:
    more = [
        b"abc",
        framed(SCHEMA, stock_event(sku="", movement="theft")),
        OVERSOLD,
        HUGE,
        *CUTS,
        *[GOOD + tail for tail in TAILS],
    ]
    frame = frame_of(spark, [GOOD, *BAD.values(), *more])
    return transform(frame, KNOWN, max_bytes=MAX_BYTES).orderBy("_offset").collect()


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_has_exactly_its_reason_and_keeps_its_bytes(judged: list[Any], reason: str) -> None:
    row = judged[1 + list(BAD).index(reason)]
    assert row["_reasons"] == [reason]
    assert (None if row["_raw"] is None else bytes(row["_raw"])) == BAD[reason]


def test_a_good_record_has_no_reason_and_the_values_that_were_sent(judged: list[Any]) -> None:
    row = judged[0]
    assert (row["_reasons"], row["_warnings"], row["_unknown_fields"]) == (None, None, None)
    assert (row["sku"], row["on_hand"], row["sequence"], row["_schema_id"]) == ("P1", 5, 1, 7)
    assert row["occurred_at"] == datetime(2026, 11, 23, 11, 59, 59)


def test_what_is_not_good_has_a_reason(judged: list[Any]) -> None:
    assert [row["_is_good"] for row in judged] == [row["_reasons"] is None for row in judged]
    assert sum(row["_is_good"] for row in judged) == len([GOOD, OVERSOLD])


def test_three_bytes_are_no_frame(judged: list[Any]) -> None:
    assert judged[len(BAD) + 1]["_reasons"] == ["bad_framing"]


def test_all_broken_rules_are_recorded(judged: list[Any]) -> None:
    assert judged[len(BAD) + 2]["_reasons"] == ["missing_sku", "unknown_movement"]


def test_a_level_below_zero_is_real_and_named(judged: list[Any]) -> None:
    row = judged[len(BAD) + 3]
    assert (row["_reasons"], row["on_hand"], row["_warnings"]) == (None, -1, ["negative_on_hand"])


def test_a_damaged_length_takes_no_memory(judged: list[Any]) -> None:
    assert judged[len(BAD) + 4]["_reasons"] == ["undecodable_body"]


def test_a_body_cut_at_any_byte_is_undecodable(judged: list[Any]) -> None:
    cut = judged[len(BAD) + 5 :][: len(CUTS)]
    assert {tuple(row["_reasons"]) for row in cut} == {("undecodable_body",)}


def test_any_bytes_after_the_event_are_found(judged: list[Any]) -> None:
    longer = judged[-len(TAILS) :]
    assert {tuple(row["_reasons"]) for row in longer} == {("trailing_bytes",)}


def changed(*drop: str, add: tuple[Any, ...] = (), **types: Any) -> dict[str, Any]:
    """The contract without some fields, with others of another type, and with some more."""
    schema = json.loads(SCHEMA)
    schema["fields"] = [field for field in schema["fields"] if field["name"] not in drop]
    for field in schema["fields"]:
        field["type"] = types.get(field["name"], field["type"])
    schema["fields"] += [{"name": name, "type": kind} for name, kind in add]
    return dict(schema)


PLACE = {"type": "record", "name": "Place", "fields": [{"name": "aisle", "type": "int"}]}
MORE = changed(add=(("note", ["null", "string"]), ("place", PLACE), ("weight", "double"), ("seal", "bytes")))
NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
OTHER_NAME = changed() | {"name": "Movement", "namespace": "other"}
ENUM = changed(movement={"type": "enum", "name": "Kind", "symbols": ["sale", "loan"]})
RENAMED = changed("sku", add=(("product_code", "string"),))
WIDER = changed(on_hand="long")
NULLABLE = changed(warehouse_id=["null", "string"])

# schema, values that differ -> reasons, facts of the row
CASES: dict[str, tuple[Any, dict[str, Any], list[str] | None, Callable[[Any], bool]]] = {
    "an added field is kept beside the row": (
        MORE,
        {"note": "x", "place": {"aisle": 4}, "weight": 0.5, "seal": b"\x00\x01"},
        None,
        lambda row: row["_unknown_fields"]
        == {"note": "x", "place": '{"aisle":4}', "weight": "0.5", "seal": "AAE="},
    ),
    "a narrower integer lands": (changed(sequence="int"), {"sequence": 5}, None, lambda row: row["sequence"] == 5),
    "a wider integer lands where it fits": (WIDER, {"on_hand": 9}, None, lambda row: row["on_hand"] == 9),
    "a wider integer that does not fit": (WIDER, {"on_hand": 2**40}, ["type_does_not_fit:on_hand"], bool),
    "a missing field": (changed("sku"), {}, ["missing_field:sku"], bool),
    "a renamed field": (RENAMED, {"product_code": "P1"}, ["missing_field:sku"], bool),
    "another type": (changed(on_hand="string"), {"on_hand": "5"}, ["incompatible_type:on_hand"], bool),
    "a plain number for a time": (
        changed(occurred_at="long"), {"occurred_at": 1}, ["incompatible_type:occurred_at"], bool,
    ),
    "two faults": (
        changed("sku", on_hand="string"),
        {"on_hand": "5"},
        ["missing_field:sku", "incompatible_type:on_hand"],
        bool,
    ),
    "null where a value is demanded": (NULLABLE, {"warehouse_id": None}, ["null_in_required_field:warehouse_id"], bool),
    "a value in a field that may be null": (NULLABLE, {}, None, lambda row: row["warehouse_id"] == "W1"),
    "an enum is text": (ENUM, {}, None, lambda row: row["movement"] == "sale"),
    "an enum's new symbol": (ENUM, {"movement": "loan"}, ["unknown_movement"], bool),
    "another name of the record": (OTHER_NAME, {}, None, lambda row: row["sku"] == "P1"),
    "a schema that holds itself": (NODE, {"next": None}, ["unusable_schema"], bool),
}  # fmt: skip


@pytest.fixture(scope="module")
def by_case(spark: SparkSession) -> dict[str, Any]:
    """One batch of all the writers, and one record whose id is that of a Protobuf schema."""
    schemas = {20 + number: json.dumps(case[0]) for number, case in enumerate(CASES.values())}
    values = [
        framed(case[0], case[1] if case[0] is NODE else stock_event(**case[1]), 20 + number)
        for number, case in enumerate(CASES.values())
    ]
    writers = WriterSchemas(values=schemas | {7: SCHEMA, 8: 'syntax = "proto3"; message M {}'})
    protobuf = b"\x00\x00\x00\x00\x08" + GOOD[5:]
    rows = transform(frame_of(spark, [*values, protobuf, GOOD]), writers).orderBy("_offset").collect()
    return dict(zip([*CASES, "protobuf", "as declared"], rows, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_change_of_the_schema_has_its_declared_outcome(by_case: dict[str, Any], case: str) -> None:
    _, _, reasons, is_as_expected = CASES[case]
    assert by_case[case]["_reasons"] == reasons
    assert is_as_expected(by_case[case])


def test_a_schema_of_another_language_stops_nothing(by_case: dict[str, Any]) -> None:
    assert by_case["protobuf"]["_reasons"] == ["unusable_schema"]
    assert (by_case["as declared"]["_reasons"], by_case["as declared"]["_schema_id"]) == (None, 7)


def test_a_declared_alias_and_a_declared_absence_are_no_faults(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed = {"sku": {"aliases": ("product_code",)}, "quantity_delta": {"may_be_missing": True}}
    fields = tuple(replace(field, **agreed.get(field.name, {})) for field in inventory_fields())
    monkeypatch.setattr(inventory_events, "inventory_fields", lambda: fields)
    writer = changed("sku", "quantity_delta", add=(("product_code", "string"),))
    value = framed(writer, stock_event(product_code="P9"))
    (row,) = transform(frame_of(spark, [value]), WriterSchemas(values={7: json.dumps(writer)})).collect()
    assert (row["_reasons"], row["sku"], row["quantity_delta"]) == (None, "P9", None)


def test_without_any_known_schema_every_framed_record_is_unknown(spark: SparkSession) -> None:
    rows = transform(frame_of(spark, [GOOD, b"abc"]), WriterSchemas()).orderBy("_offset").collect()
    assert [row["_reasons"] for row in rows] == [["unknown_schema_id"], ["bad_framing"]]


def test_the_transform_gives_exactly_the_declared_columns(spark: SparkSession) -> None:
    out = transform(frame_of(spark, [GOOD]), KNOWN)
    declared = out.drop("_raw", "_raw_key", *JUDGEMENT)
    assert delta_io.fits(declared, INVENTORY_EVENTS).columns == INVENTORY_EVENTS.columns


def test_the_contract_declares_the_columns_of_bronze() -> None:
    columns = [(field.name, field.type.simpleString()) for field in inventory_fields()]
    in_bronze = [(one.name, one.dataType.simpleString()) for one in INVENTORY_EVENTS.schema]
    assert columns == in_bronze[: len(columns)]
