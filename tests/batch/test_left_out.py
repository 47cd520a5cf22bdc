"""The forms of the placeholder that Debezium 3.6 sends for a large value that an update did not touch."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from batch.json_values import converted
from batch.left_out import PLACEHOLDER, UUID_PLACEHOLDER, is_left_out, large_columns
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
