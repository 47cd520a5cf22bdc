"""Changes of Postgres in any cut give the same Silver: newest wins, deletes are remembered, left-out values stay."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession

from batch import captured_tables
from batch.left_out import PLACEHOLDER as UNAVAILABLE
from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import PRODUCTS

AT = datetime(2026, 11, 23, 9, 0, 0)


def product(product_id: str, **values: Any) -> dict[str, Any]:
    return {
        "product_id": product_id,
        "product_name": "Lamp",
        "category": "Home",
        "description": "long text",
        "unit_cost": None,
        "unit_price": None,
        "updated_at": AT,
    } | values


def change(op: str, product_id: str, lsn: int, offset: int | None = None, **values: Any) -> dict[str, Any]:
    """One row of bronze.products_changes."""
    after = None if op == "d" else product(product_id, **values)
    row: dict[str, Any] = dict.fromkeys(PRODUCTS.changes.columns)
    row |= {"key": {"product_id": product_id}, "op": op, "after": after, "lsn": lsn, "source_at": AT}
    row |= {"_topic": "shop.public.products", "_partition": 0, "_offset": lsn if offset is None else offset}
    return row


@pytest.fixture
def merge(spark: SparkSession, settings: Settings) -> Any:
    """Append changes to Bronze and merge them; returns (live, deleted) as {product_id: description}."""

    def run(*changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        delta_io.append(spark.createDataFrame(list(changes), PRODUCTS.changes.schema), PRODUCTS.changes, settings)
        captured_tables.run(spark, settings, PRODUCTS)
        live, deleted = (
            {row["product_id"]: row["description"] for row in delta_io.read(spark, spec, settings).collect()}
            for spec in (PRODUCTS.silver, PRODUCTS.deleted)
        )
        return live, deleted

    return run


def test_the_newest_change_wins_within_and_across_batches(merge: Any) -> None:
    live, _ = merge(change("c", "a", 1, description="one"), change("u", "a", 3, description="three"))
    assert live == {"a": "three"}
    # An older change that arrives behind (its offset is new, its LSN is not).
    live, _ = merge(change("u", "a", 2, offset=4, description="two"))
    assert live == {"a": "three"}


def test_a_deleted_row_leaves_and_is_remembered_with_its_last_values(merge: Any) -> None:
    merge(change("c", "a", 1, description="one"), change("c", "b", 2))
    live, deleted = merge(change("d", "a", 3))
    assert (set(live), deleted) == ({"b"}, {"a": "one"})


def test_an_old_update_does_not_revive_a_deleted_row(merge: Any) -> None:
    merge(change("c", "a", 1), change("d", "a", 5))
    live, deleted = merge(change("u", "a", 3, offset=6))
    assert (live, set(deleted)) == ({}, {"a"})


def test_a_row_inserted_again_after_its_delete_is_live(merge: Any) -> None:
    merge(change("c", "a", 1), change("d", "a", 2))
    live, deleted = merge(change("c", "a", 3, description="again"))
    assert (live, deleted) == ({"a": "again"}, {})


def test_a_value_that_debezium_left_out_stays(merge: Any) -> None:
    merge(change("c", "a", 1, description="real"))
    live, _ = merge(change("u", "a", 2, description=UNAVAILABLE))
    assert live == {"a": "real"}


def test_a_left_out_value_takes_the_real_one_of_the_same_batch(merge: Any) -> None:
    merge(change("c", "a", 1, description="old"))
    live, _ = merge(change("u", "a", 2, description="real"), change("u", "a", 3, description=UNAVAILABLE))
    assert live == {"a": "real"}


def test_the_placeholder_never_reaches_the_table(merge: Any) -> None:
    live, _ = merge(change("u", "a", 1, description=UNAVAILABLE))
    assert live == {"a": None}


def test_merging_nothing_new_commits_nothing(spark: SparkSession, settings: Settings, merge: Any) -> None:
    merge(change("c", "a", 1))
    before = [delta_io.version(spark, spec, settings) for spec in PRODUCTS.merged]
    assert captured_tables.run(spark, settings, PRODUCTS) == 0
    assert [delta_io.version(spark, spec, settings) for spec in PRODUCTS.merged] == before
