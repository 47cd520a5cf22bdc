"""The forms of the placeholder that Debezium 3.6 sends for a large value that an update did not touch."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from batch.json_values import converted
from batch.left_out import PLACEHOLDER, UUID_PLACEHOLDER, is_left_out, large_columns, placeholder
from batch.sent_forms import Form
from lakehouse.tables import CapturedTable
from lakehouse.tables.columns import columns, data_type

BYTES = list(PLACEHOLDER.encode())
SENT: dict[str, Any] = {
    "array<string>": [PLACEHOLDER],
    "array<binary>": [base64.b64encode(PLACEHOLDER.encode()).decode()],
    "array<int>": BYTES,
    "array<bigint>": BYTES,
    "array<date>": BYTES,
    "map<string,string>": {PLACEHOLDER: PLACEHOLDER},
}


pytestmark = pytest.mark.slow


def test_the_placeholder_is_known_in_the_form_of_each_type(spark: SparkSession) -> None:
    no_form = Form(F.lit(None).cast("string"), F.lit(0))
    values = [converted(F.lit(json.dumps(sent)), data_type(kind), no_form) for kind, sent in SENT.items()]
    found = [is_left_out(value, data_type(kind)) for kind, value in zip(SENT, values, strict=True)]
    # An array of uuid and an hstore as text have a form of their own.
    uuids, hstore = (
        F.array(F.lit(UUID_PLACEHOLDER)),
        F.lit(json.dumps({PLACEHOLDER: PLACEHOLDER}, separators=(",", ":"))),
    )
    found += [is_left_out(uuids, data_type("array<string>")), is_left_out(hstore, data_type("string"))]
    row = spark.range(1).select(*[one.alias(f"c{number}") for number, one in enumerate(found)]).first()
    assert row is not None
    assert list(row) == [True] * len(found)


def test_a_column_that_is_never_left_out_is_no_large_one(spark: SparkSession) -> None:
    kinds = (
        "id bigint, note string, days array<date>, scans array<binary>, moments array<timestamp>, total decimal(9,2)"
    )
    assert large_columns(CapturedTable("t", columns(kinds), keys=("id",))) == ["note", "days", "scans"]


STRUCT = "struct<floor:int,city:string,zip:string>"
REAL: dict[str, Any] = {
    STRUCT: {"floor": 1, "city": PLACEHOLDER, "zip": None},
    f"array<{STRUCT}>": [{"city": PLACEHOLDER}, {"city": PLACEHOLDER}],
    "map<string,bigint>": {PLACEHOLDER: 1, "other": 2},
}


def test_a_type_has_a_value_that_stands_for_one_that_is_left_out_and_is_no_other(spark: SparkSession) -> None:
    kinds = [data_type(kind) for kind in ("string", "binary", "array<string>", "map<string,int>", *REAL)]
    no_form = Form(F.lit(None).cast("string"), F.lit(0))
    found = [is_left_out(value, kind) for kind in kinds if (value := placeholder(kind)) is not None]
    others = [
        is_left_out(converted(F.lit(json.dumps(real)), data_type(kind), no_form), data_type(kind))
        for kind, real in REAL.items()
    ]
    nulls = [is_left_out(F.lit(None).cast(kind), kind) for kind in kinds]
    row = spark.range(1).select(*[one.alias(f"c{n}") for n, one in enumerate(found + others + nulls)]).first()
    assert row is not None
    assert list(row) == [True] * len(kinds) + [False] * (len(REAL) + len(kinds))


def test_a_type_without_texts_has_no_such_value(spark: SparkSession) -> None:
    kinds = ("struct<a:int,b:struct<c:string>>", "array<double>", "map<int,string>", "array<array<string>>", "bigint")
    assert [placeholder(data_type(kind)) for kind in kinds] == [None] * len(kinds)
    assert large_columns(CapturedTable("t", columns(f"id bigint, a {kinds[0]}, b {STRUCT}"), keys=("id",))) == ["b"]
