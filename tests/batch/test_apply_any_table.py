"""Tables that are declared otherwise than ours, through the public way in: no history, a history of some columns,
nested columns that are left out, and a table that is nothing but its key. And what two calls at once come to.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from batch import captured_tables
from batch.apply import apply_changes
from batch.left_out import HSTORE_PLACEHOLDER, PLACEHOLDER
from lakehouse import lease
from lakehouse.errors import LeaseHeld
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable
from lakehouse.tables.columns import columns

pytestmark = pytest.mark.slow
RECORD = "key binary, value binary, topic string, partition int, offset bigint, timestamp timestamp"


def change(op: str, lsn: int, key: dict[str, Any], **values: Any) -> tuple[Any, ...]:
    source = {"lsn": lsn, "sequence": f'["{lsn}","{lsn}"]', "txId": lsn, "snapshot": "false", "ts_ms": 1000 * lsn}
    before = values.pop("before", None)
    value = {"op": op, "before": before, "after": None if op == "d" else key | values, "source": source}
    return json.dumps(key).encode(), json.dumps(value).encode(), "t", 0, lsn, datetime(2026, 1, 1)


def rows(spark: SparkSession, path: Path, *names: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in spark.read.format("delta").load(str(path)).select(*names).collect())


def test_a_table_without_history_has_live_and_deleted_rows_alone(spark: SparkSession, tmp_path: Path) -> None:
    table = CapturedTable("plain", columns("id bigint, note string"), keys=("id",), has_history=False)
    made = [change("c", 1, {"id": 1}, note="a"), change("c", 2, {"id": 2}, note="b")]
    later = [change("u", 3, {"id": 1}, note="c"), change("d", 4, {"id": 2})]
    apply_changes(spark, spark.createDataFrame(later + made, RECORD), table, tmp_path)
    assert rows(spark, tmp_path / "silver" / "plain", "id", "note") == [(1, "c")]
    assert rows(spark, tmp_path / "silver" / "plain_deleted", "id", "note") == [(2, "b")]
    assert not (tmp_path / "silver" / "plain_history").exists()


def test_only_declared_columns_make_a_new_row_of_the_history(spark: SparkSession, tmp_path: Path) -> None:
    kinds = columns("id bigint, price bigint, seen bigint")
    table = CapturedTable("priced", kinds, keys=("id",), history_columns=("price",))
    key = {"id": 1}
    records = [change("c", 1, key, price=5, seen=1), change("u", 2, key, price=5, seen=2)]
    records += [change("u", 3, key, price=6, seen=2), change("u", 4, key, price=6, seen=9)]
    apply_changes(spark, spark.createDataFrame(records, RECORD), table, tmp_path)
    history = tmp_path / "silver" / "priced_history"
    assert rows(spark, history, "price", "is_current") == [(5, False), (6, True)]
    assert "seen" not in spark.read.format("delta").load(str(history)).columns
    assert rows(spark, tmp_path / "silver" / "priced", "id", "price", "seen") == [(1, 6, 9)]


def test_a_late_change_of_a_key_with_an_array_is_placed(spark: SparkSession, tmp_path: Path) -> None:
    table = CapturedTable("tagged", columns("tags array<string>, note string"), keys=("tags",))
    key = {"tags": ["a", "b"]}
    for records in ([change("c", 1, key, note="x"), change("u", 9, key, note="z")], [change("u", 5, key, note="y")]):
        apply_changes(spark, spark.createDataFrame(records, RECORD), table, tmp_path)
    assert rows(spark, tmp_path / "silver" / "tagged", "tags", "note") == [(["a", "b"], "z")]
    history = tmp_path / "silver" / "tagged_history"
    assert rows(spark, history, "note", "is_current") == [("x", False), ("y", False), ("z", True)]


def test_a_table_that_is_all_keys_has_rows_that_come_and_go(spark: SparkSession, tmp_path: Path) -> None:
    table = CapturedTable("pairs", columns("left_id bigint, right_id bigint"), keys=("left_id", "right_id"))
    one, other = {"left_id": 1, "right_id": 1}, {"left_id": 1, "right_id": 2}
    records = [change("c", 1, one), change("c", 2, other), change("d", 3, one), change("c", 4, one)]
    records.append(change("d", 5, other))
    apply_changes(spark, spark.createDataFrame(records, RECORD), table, tmp_path)
    names = ("left_id", "right_id")
    assert rows(spark, tmp_path / "silver" / "pairs", *names) == [(1, 1)]
    history = tmp_path / "silver" / "pairs_history"
    spans = [((1, 1), False), ((1, 1), True), ((1, 2), False)]
    assert rows(spark, history, *names, "is_current") == [(*pair, is_current) for pair, is_current in spans]


DOCUMENTS = CapturedTable(
    "documents",
    columns(
        "id bigint, note string, counts map<string,bigint>, labels array<string>, days array<date>, "
        "address struct<floor:int,city:string>, lines array<struct<sku:string,count:int>>, rates array<double>"
    ),
    keys=("id",),
)
NESTED = ("counts", "labels", "days", "address", "lines")


def test_a_nested_column_that_is_left_out_keeps_its_last_value(spark: SparkSession, tmp_path: Path) -> None:
    documents = {"counts": {"a": 1}, "labels": ["x"], "days": [0], "address": {"floor": 2, "city": "Bern"}}
    documents |= {"lines": [{"sku": "P1", "count": 3}], "rates": [1.5]}
    left_out = dict.fromkeys(NESTED, PLACEHOLDER) | {"rates": [2.5]}
    # As Debezium writes a jsonb: a text.
    texts = {name: json.dumps(value) for name, value in documents.items()}
    first = [change("c", 1, {"id": 1}, note="a", **texts)]
    records = [
        change("u", 2, {"id": 1}, note="b", **left_out),
        change("u", 3, {"id": 2}, note="c", **left_out | {"address": HSTORE_PLACEHOLDER}),
        change("u", 4, {"id": 3}, note="d", **left_out | {"rates": PLACEHOLDER}),
        change("u", 5, {"id": 4}, note="e", before={"id": 4, "note": "d"} | texts, **left_out),
    ]
    for each in (first, records):
        apply_changes(spark, spark.createDataFrame(each, RECORD), DOCUMENTS, tmp_path)
    found = rows(spark, tmp_path / "silver" / "documents", *DOCUMENTS.columns.names, "_unresolved_columns")
    values = ({"a": 1}, ["x"], [date(1970, 1, 1)], (2, "Bern"), [("P1", 3)], [2.5])
    assert found[0] == (1, "b", *values, None)
    assert found[1] == (2, "c", None, None, None, None, None, [2.5], list(NESTED))
    assert found[2] == (4, "e", *values, None), "from the row before the change"
    rejected = rows(spark, tmp_path / "ops" / "quarantine" / "documents_changes", "origin_position", "reasons")
    assert rejected == [(4, ["value_left_out:rates"])]


def test_a_second_call_waits_for_the_first_that_still_writes(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured_tables, "WAIT_SECONDS", 0)
    table = CapturedTable("plain", columns("id bigint, note string"), keys=("id",), has_history=False)
    good, bad = change("c", 1, {"id": 1}, note="a"), (b"{}", b"{nonsense", "t", 0, 2, datetime(2026, 1, 1))
    records = spark.createDataFrame([good, bad], RECORD)
    settings = Settings(home=tmp_path, warehouse_uri=str(tmp_path))
    with lease.hold(lease.of_stream("plain_changes"), settings), pytest.raises(LeaseHeld, match="stream-plain_changes"):
        apply_changes(spark, records, table, tmp_path)
    assert not (tmp_path / "bronze").exists()
    assert not (tmp_path / "ops" / "quarantine").exists()
    # Its own lease it has given back before the merge, and after.
    apply_changes(spark, records, table, tmp_path)
    assert not lease.is_held(lease.of_stream("plain_changes"), settings)
    assert rows(spark, tmp_path / "silver" / "plain", "id", "note") == [(1, "a")]
