"""Debezium's envelopes: typed by the declared columns, never a silent null; tombstones are filtered by name."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from kafka_rows import frame_of, framed
from pyspark.sql import SparkSession

from lakehouse import delta_io
from lakehouse.tables import ORDERS
from streaming.changes import transform
from streaming.writer_schemas import WriterSchemas


def optional(kind: Any) -> list[Any]:
    return ["null", kind]


ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "order_id", "type": "long"},
        {"name": "customer_id", "type": optional("long"), "default": None},
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
        "order_date": "2026-11-23Z",
        "quantity": 2,
        "amount": "12.50",
        "status": "pending",
        "updated_at": "2026-11-23T10:00:00.123456Z",
        "not_declared": "x",
    } | values


def message(op: str = "c", **after: Any) -> bytes:
    source = {"ts_ms": 1_795_400_000_000, "snapshot": "false", "sequence": '[null,"42"]', "txId": 9, "lsn": 42}
    transaction = {"id": "9:42", "total_order": 3, "data_collection_order": 1}
    image = order(**after) if op in "cru" else None
    return framed(ENVELOPE, {"before": None, "after": image, "source": source, "transaction": transaction, "op": op})


A_KEY = framed(KEY, {"order_id": 1}, schema_id=5)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> list[Any]:
    values = [message(), message(amount="NAN"), None, message("t"), message(), message("d")]
    keys = [A_KEY, A_KEY, A_KEY, None, None, A_KEY]
    return transform(frame_of(spark, values, keys), KNOWN, ORDERS).orderBy("_offset").collect()


def test_a_change_is_typed_by_the_declared_columns(rows: list[Any]) -> None:
    change = rows[0]
    assert (change["_reasons"], change["_filtered_as"], change["op"]) == (None, None, "c")
    after = change["after"]
    assert (after["amount"], str(after["order_date"])) == (Decimal("12.50"), "2026-11-23")
    assert after["updated_at"].microsecond == 123456
    # Declared, and not in this version of the source's table.
    assert after["product_id"] is None
    assert (change["lsn"], change["commit_lsn"], change["transaction_order"]) == (42, None, 3)
    assert change["key"]["order_id"] == 1


def test_a_value_that_does_not_fit_is_never_a_silent_null(rows: list[Any]) -> None:
    assert rows[1]["_reasons"] == ["type_does_not_fit"]
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
    declared = out.drop("_raw", "_raw_key", "_reasons", "_filtered_as")
    assert delta_io.fits(declared, ORDERS.changes).columns == ORDERS.changes.columns
