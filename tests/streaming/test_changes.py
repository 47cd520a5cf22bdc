"""Debezium's envelopes: typed by the declared columns, never a silent null; tombstones are filtered by name."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from kafka_rows import frame_of, framed
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.tables import ORDERS
from streaming.changes import transform
from streaming.counts import JUDGEMENT
from streaming.writer_schemas import WriterSchemas


def optional(kind: Any) -> list[Any]:
    return ["null", kind]


ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "order_id", "type": "long"},
        {"name": "customer_id", "type": optional("long"), "default": None},
        {"name": "product_id", "type": "string"},
        {"name": "order_date", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "amount", "type": "string"},
        {"name": "status", "type": "string"},
        {"name": "updated_at", "type": "string"},
        {"name": "not_declared", "type": optional("string"), "default": None},
    ],
}
SOURCE = [("ts_ms", "long"), ("snapshot", "string"), ("sequence", "string"), ("txId", "long"), ("lsn", "long")]
TRANSACTION = [("id", "string"), ("total_order", "long"), ("data_collection_order", "long")]


def record(name: str, fields: list[tuple[str, str]]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": n, "type": optional(kind)} for n, kind in fields]}


ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "fields": [
        {"name": "before", "type": optional(ROW), "default": None},
        {"name": "after", "type": optional("Value"), "default": None},
        {"name": "source", "type": record("Source", SOURCE)},
        {"name": "transaction", "type": optional(record("Block", TRANSACTION)), "default": None},
        {"name": "op", "type": "string"},
    ],
}
KEY = {"type": "record", "name": "Key", "fields": [{"name": "order_id", "type": "long"}]}
KNOWN = WriterSchemas(values={7: json.dumps(ENVELOPE)}, keys={5: json.dumps(KEY)})


def order(**values: Any) -> dict[str, Any]:
    return {
        "order_id": 1,
        "customer_id": None,
        "product_id": "P1",
        "order_date": "2026-11-23Z",
        "quantity": 2,
        "amount": "12.50",
        "status": "pending",
        "updated_at": "2026-11-23T10:00:00.123456Z",
        "not_declared": "x",
    } | values


NOW = 1_795_400_000_000


A_TRANSACTION = {"id": "9:42", "total_order": 3, "data_collection_order": 1}


def message(
    op: str = "c",
    schema: Any = ENVELOPE,
    schema_id: int = 7,
    ts_ms: int = NOW,
    snapshot: str = "false",
    sequence: str = '[null,"42"]',
    transaction: dict[str, Any] | None = A_TRANSACTION,
    **after: Any,
) -> bytes:
    source = {"ts_ms": ts_ms, "snapshot": snapshot, "sequence": sequence, "txId": 9, "lsn": 42}
    image = order(**after) if op in "cru" else None
    change = {"before": None, "after": image, "source": source, "transaction": transaction, "op": op}
    return framed(schema, change, schema_id)


A_KEY = framed(KEY, {"order_id": 1}, schema_id=5)


TEXT_KEY = {"type": "record", "name": "Key", "fields": [{"name": "order_id", "type": "string"}]}
KNOWN.keys[6] = json.dumps(TEXT_KEY)
BAD: dict[str, tuple[bytes | None, bytes | None, list[str]]] = {
    "trailing bytes": (message() + b"\x00", A_KEY, ["trailing_bytes"]),
    "trailing bytes of the key": (message(), A_KEY + b"\x00", ["trailing_bytes"]),
    "a cut body": (message()[:-3], A_KEY, ["undecodable_body"]),
    "a cut key": (message(), A_KEY[:-1], ["undecodable_body"]),
    "a key of an unknown schema": (message(), b"\x00\x00\x00\x00\x63\x02", ["unknown_schema_id"]),
    "a key that is no number": (message(), framed(TEXT_KEY, {"order_id": "x"}, 6), ["missing_key"]),
    "an empty record": (None, None, ["null_value"]),
    "no value, and a key that is none": (None, b"x", ["bad_framing"]),
    "oversize": (message(status="x" * 5000), A_KEY, ["oversize"]),
    "a moment in microseconds": (message(ts_ms=NOW * 1000), A_KEY, ["type_does_not_fit:ts_ms"]),
    "a moment in nanoseconds": (message(ts_ms=NOW * 1000 * 1000), A_KEY, ["type_does_not_fit:ts_ms"]),
    "digits that the column has no place for": (message(amount="12.505"), A_KEY, ["type_does_not_fit:amount"]),
}


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> list[Any]:
    values = [message(), message(amount="NAN"), None, message("t"), message(), message("d")]
    keys = [A_KEY, A_KEY, A_KEY, None, None, A_KEY]
    values += [value for value, _, _ in BAD.values()]
    keys += [key for _, key, _ in BAD.values()]
    values += [message(status="odd", quantity=0)]
    keys += [A_KEY]
    frame = transform(frame_of(spark, values, keys), KNOWN, ORDERS, max_bytes=4000)
    return frame.orderBy("_offset").collect()


@pytest.mark.parametrize("case", BAD)
def test_a_bad_change_has_exactly_its_reason_and_keeps_its_bytes(rows: list[Any], case: str) -> None:
    row, (value, key, reasons) = rows[6 + list(BAD).index(case)], BAD[case]
    assert row["_reasons"] == reasons
    assert (row["_raw"], row["_raw_key"], row["_filtered_as"]) == (value, key, None)


def test_rules_only_warn_of_what_is_real_in_the_source(rows: list[Any]) -> None:
    assert (rows[-1]["_reasons"], rows[-1]["_warnings"]) == (None, ["unknown_status", "quantity_of_zero"])
    assert rows[-1]["after"]["status"] == "odd"


def test_a_change_is_typed_by_the_declared_columns(rows: list[Any]) -> None:
    change = rows[0]
    assert (change["_reasons"], change["_filtered_as"], change["op"]) == (None, None, "c")
    after = change["after"]
    assert (after["amount"], str(after["order_date"])) == (Decimal("12.50"), "2026-11-23")
    assert after["updated_at"].microsecond == 123456
    assert change["_warnings"] is None
    assert (change["lsn"], change["commit_lsn"], change["transaction_order"]) == (42, None, 3)
    assert change["key"]["order_id"] == 1


def test_bronze_holds_all_that_says_where_a_change_stands_as_it_was_sent(spark: SparkSession) -> None:
    values = [message(sequence='["40","42"]'), message("r", snapshot="last", transaction=None)]
    incarnation = F.struct(F.lit("source_incarnation").alias("key"), F.lit(b"7300000000000000001/1").alias("value"))
    sent = frame_of(spark, values, [A_KEY, A_KEY]).withColumn("headers", F.array(incarnation))
    change, snapshot = transform(sent, KNOWN, ORDERS).orderBy("_offset").collect()
    assert bytes(change["_key"]) == bytes(snapshot["_key"]) == A_KEY
    assert (change["sequence"], change["commit_lsn"], change["lsn"]) == ('["40","42"]', 40, 42)
    place = ("transaction_id", "transaction_order", "collection_order")
    assert tuple(change[name] for name in place) == ("9:42", 3, 1)
    assert (change["snapshot"], snapshot["snapshot"]) == ("false", "last")
    assert change["source_incarnation"] == snapshot["source_incarnation"] == "7300000000000000001/1"
    # A row that a snapshot read has no place in a transaction; the number of the one that read it is kept.
    assert tuple(snapshot[name] for name in place) == ("9", None, None)


def test_a_value_that_does_not_fit_is_never_a_silent_null(rows: list[Any]) -> None:
    assert rows[1]["_reasons"] == ["type_does_not_fit:amount"]
    assert bytes(rows[1]["_raw"]) == message(amount="NAN")


def test_a_tombstone_is_filtered_by_name(rows: list[Any]) -> None:
    assert (rows[2]["_reasons"], rows[2]["_filtered_as"]) == (None, "tombstone")


def test_a_truncate_needs_no_key(rows: list[Any]) -> None:
    assert (rows[3]["_reasons"], rows[3]["op"]) == (None, "t")


def test_a_row_change_without_a_key_is_rejected(rows: list[Any]) -> None:
    assert rows[4]["_reasons"] == ["missing_key"]


def test_a_delete_keeps_its_key(rows: list[Any]) -> None:
    assert (rows[5]["op"], rows[5]["key"]["order_id"], rows[5]["after"]) == ("d", 1, None)


def test_the_transform_gives_exactly_the_declared_columns(spark: SparkSession) -> None:
    out = transform(frame_of(spark, [message()], [A_KEY]), KNOWN, ORDERS)
    declared = out.drop("_raw", "_raw_key", "_raw_headers", *JUDGEMENT)
    assert delta_io.fits(declared, ORDERS.changes).columns == ORDERS.changes.columns


def envelope(*drop: str, add: tuple[tuple[str, Any], ...] = (), **types: Any) -> dict[str, Any]:
    """The envelope of a table without some columns, with others of another type, and with some more."""
    fields = [field | {"type": types.get(field["name"], field["type"])} for field in ROW["fields"]]
    row = ROW | {"fields": [f for f in fields if f["name"] not in drop] + [{"name": n, "type": t} for n, t in add]}
    parts = [field | {"type": optional(row)} if field["name"] == "before" else field for field in ENVELOPE["fields"]]
    return ENVELOPE | {"fields": parts}


NO_ENVELOPE = {"type": "record", "name": "Other", "fields": [{"name": "op", "type": "string"}]}
LIST = {"type": "array", "items": "string"}

# envelope, values that differ, what is agreed -> reasons, facts of the row
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any], list[str] | None, Any]] = {
    "an added column is kept beside the row": (
        envelope(add=(("channel", "string"), ("tags", LIST))),
        {"channel": "web", "tags": ["a"]},
        {},
        None,
        lambda row: row["_unknown_fields"] == {"not_declared": "x", "channel": "web", "tags": '["a"]'},
    ),
    "a dropped column": (envelope("product_id"), {}, {}, ["missing_field:product_id"], None),
    "a dropped column that may be missing": (
        envelope("product_id"),
        {},
        {"may_be_missing": ("product_id",)},
        None,
        lambda row: row["after"]["product_id"] is None,
    ),
    "a renamed column": (
        envelope("status", add=(("state", "string"),)), {"state": "paid"}, {}, ["missing_field:status"], None,
    ),
    "a renamed column whose name is declared": (
        envelope("status", add=(("state", "string"),)),
        {"state": "pending"},
        {"old_names": {"state": "status"}},
        None,
        lambda row: (row["after"]["status"], row["_unknown_fields"]) == ("pending", {"not_declared": "x"}),
    ),
    "a wider column": (envelope(quantity="long"), {}, {}, None, lambda row: row["after"]["quantity"] == 2),
    "a wider column whose value does not fit": (
        envelope(quantity="long"), {"quantity": 2**40}, {}, ["type_does_not_fit:quantity"], None,
    ),
    "a number that became text": (
        envelope(quantity="string"), {"quantity": "7"}, {}, None, lambda row: row["after"]["quantity"] == 7,
    ),
    "a number that became other text": (
        envelope(quantity="string"), {"quantity": "many"}, {}, ["type_does_not_fit:quantity"], None,
    ),
    "another type": (envelope(quantity="boolean"), {"quantity": True}, {}, ["incompatible_type:quantity"], None),
    "a record that is no envelope": (NO_ENVELOPE, {}, {}, ["unusable_schema"], None),
}  # fmt: skip


@pytest.fixture(scope="module")
def by_case(spark: SparkSession) -> dict[str, Any]:
    """All cases in one batch, once for each agreement."""
    found = {}
    schemas = {20 + number: json.dumps(case[0]) for number, case in enumerate(CASES.values())}
    writers = WriterSchemas(values=schemas, keys=KNOWN.keys)
    values = [
        framed(NO_ENVELOPE, {"op": "c"}, 20 + number)
        if case[0] is NO_ENVELOPE
        else message(schema=case[0], schema_id=20 + number, **case[1])
        for number, case in enumerate(CASES.values())
    ]
    frame = frame_of(spark, values, [A_KEY] * len(values))
    for agreed in ({}, *[case[2] for case in CASES.values() if case[2]]):
        rows = transform(frame, writers, replace(ORDERS, **agreed)).orderBy("_offset").collect()
        found |= {name: row for name, row in zip(CASES, rows, strict=True) if CASES[name][2] == agreed}
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_change_of_the_table_has_its_declared_outcome(by_case: dict[str, Any], case: str) -> None:
    _, _, _, reasons, is_as_expected = CASES[case]
    assert by_case[case]["_reasons"] == reasons
    assert is_as_expected is None or is_as_expected(by_case[case])
