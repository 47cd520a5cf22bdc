"""What two sets of rows differ in, by key; which columns are compared at all; how a request names its keys."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import date

from batch import repair
from batch.differences import between
from batch.reconcile import Comparison
from lakehouse.source_rows import Bucket, Shape, SourceTable, shape_of
from lakehouse.tables import ORDERS, PRODUCTS
from lakehouse.tables.columns import columns

Row = tuple[str, tuple[object, ...], int]
SHAPE = shape_of(
    ORDERS,
    {
        "order_id": "int8",
        "customer_id": "int8",
        "product_id": "text",
        "order_date": "date",
        "quantity": "int4",
        "amount": "numeric",
        "status": "enum",
        "updated_at": "timestamptz",
    },
)


def row(number: int, row_hash: int = 7) -> Row:
    return (f"1:{number}", (number,), row_hash)


def kinds(source: list[Row], silver: list[Row]) -> dict[object, str]:
    return {one.key[0]: one.kind for one in between(ORDERS, source, silver)}


def test_each_kind_of_difference_is_told_apart() -> None:
    source = [row(1), row(2), row(3), row(4)]
    silver = [row(1), row(2, 8), row(4), row(4), row(5)]
    assert kinds(source, silver) == {2: "changed", 3: "lost", 4: "doubled", 5: "extra"}


def test_equal_rows_in_any_order_do_not_differ() -> None:
    rows = [row(number, number) for number in range(50)]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert kinds(rows, shuffled) == {}


def test_a_difference_names_table_and_key() -> None:
    (lost,) = between(ORDERS, [row(3)], [])
    assert str(lost) == "orders order_id=3: lost"
    assert str(replace(lost, is_quarantined=True)).endswith("lost, a change of it is in the quarantine")


def comparison(source: dict[int, Bucket], silver: dict[int, Bucket]) -> Comparison:
    return Comparison(SourceTable(ORDERS, SHAPE, 256, source, 0.1), silver)


def test_a_bucket_differs_by_count_by_hash_or_by_being_there() -> None:
    found = comparison(
        {1: Bucket(2, 5), 2: Bucket(1, 5), 3: Bucket(1, 1)}, {1: Bucket(2, 5), 2: Bucket(1, 6), 4: Bucket(1, 1)}
    )
    assert found.differing == [2, 3, 4]
    assert str(found) == "orders: 4 rows in Postgres, 4 in Silver, 3 of 256 buckets differ"


def test_what_is_not_compared_is_named_with_its_reason() -> None:
    odd = replace(
        PRODUCTS,
        columns=columns(
            "product_id string, ratio double, tags map<string,string>, renamed string, gone string, opens string, "
            "nested array<array<int>>, numbers array<int>"
        ),
        old_names={"was_named": "renamed"},
    )
    shape = shape_of(
        odd,
        {
            "product_id": "bpchar",
            "ratio": "float8",
            "tags": "hstore",
            "was_named": "text",
            "extra": "text",
            "opens": "time",
            "nested": "int4[]",
            "numbers": "int2[]",
        },
    )
    assert shape.columns == ("product_id", "renamed", "numbers")
    assert shape.source_names == {"renamed": "was_named"}
    assert shape.left_out == (
        "ratio (type double, float8 in the source)",
        "tags (type map<string,string>, hstore in the source)",
        "gone (not in the source)",
        "opens (type string, time in the source)",
        "nested (type array<array<int>>, int4[] in the source)",
        "extra (not declared)",
    )


def test_a_request_names_exactly_its_keys_quoted() -> None:
    shape = Shape(("product_id",), (), {"product_id": 'odd "name'})
    signal = repair.request(PRODUCTS, shape, [("it's",), ("b",)])
    assert json.loads(json.dumps(signal)) == {
        "type": "execute-snapshot",
        "data": {
            "type": "incremental",
            "data-collections": ["public.products"],
            "additional-conditions": [
                {"data-collection": "public.products", "filter": "(\"odd \"\"name\") in (('it''s'), ('b'))"}
            ],
        },
    }


def test_a_request_for_a_composite_key_keeps_its_parts_together() -> None:
    pair = replace(ORDERS, keys=("order_id", "order_date"))
    condition = repair.request(pair, SHAPE, [(-1, date(2026, 11, 23))])["data"]["additional-conditions"][0]["filter"]
    assert condition == '("order_id", "order_date") in (( -1, \'2026-11-23\'::date))'
