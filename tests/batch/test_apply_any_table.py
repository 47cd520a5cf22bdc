"""Tables that are declared otherwise than ours, through the public way in: no history, a history of some columns, and a
table that is nothing but its key. One call each.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from batch.apply import apply_changes
from lakehouse.tables import CapturedTable
from lakehouse.tables.columns import columns

pytestmark = pytest.mark.slow
RECORD = "key binary, value binary, topic string, partition int, offset bigint, timestamp timestamp"


def change(op: str, lsn: int, key: dict[str, Any], **values: Any) -> tuple[Any, ...]:
    source = {"lsn": lsn, "sequence": f'["{lsn}","{lsn}"]', "txId": lsn, "snapshot": "false", "ts_ms": 1000 * lsn}
    value = {"op": op, "before": None, "after": None if op == "d" else key | values, "source": source}
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
