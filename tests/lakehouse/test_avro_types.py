"""The types that we say Spark reads Avro as are the types that it reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from lakehouse.contracts.avro_types import UnusableSchema, record_type

INNER = {"type": "record", "name": "Inner", "fields": [{"name": "a", "type": "int"}]}
TYPES: list[Any] = [
    "boolean", "int", "long", "float", "double", "bytes", "string", INNER, "Inner", "space.Inner",
    {"type": "enum", "name": "Kind", "symbols": ["a"]},
    {"type": "fixed", "name": "Four", "size": 4},
    {"type": "fixed", "name": "Money", "size": 8, "logicalType": "decimal", "precision": 12, "scale": 2},
    {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 3},
    {"type": "bytes", "logicalType": "decimal", "precision": 10},
    {"type": "int", "logicalType": "date"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "time-micros"},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "long", "logicalType": "local-timestamp-micros"},
    {"type": "string", "logicalType": "uuid"},
    {"type": "string", "connect.name": "io.debezium.time.ZonedTimestamp"},
    {"type": "array", "items": "string"},
    {"type": "map", "values": ["null", "long"]},
    ["null", "string"], ["int", "long"], ["null", "float", "double"], ["int", "string"], ["null", "int", "string"],
]  # fmt: skip


def test_the_types_are_those_of_spark(spark: SparkSession) -> None:
    fields = [{"name": f"f{number}", "type": kind} for number, kind in enumerate(TYPES)]
    schema = json.dumps({"type": "record", "name": "All", "namespace": "space", "fields": fields})
    frame = spark.range(1).select(from_avro(F.lit(b""), schema).alias("found"))
    found = frame.schema["found"].dataType
    ours = record_type(schema)
    assert {one.name: one.dataType.simpleString() for one in ours} == {
        one.name: one.dataType.simpleString()
        for one in found  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize(
    "text",
    [
        'syntax = "proto3";',
        '{"type": "object", "properties": {}}',
        '"string"',
        "[1]",
        '{"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "NotDefined"}]}',
        '{"type": "record", "name": "R", "fields": [{"name": "sku", "type": "int"}, {"name": "SKU", "type": "int"}]}',
        '{"type": "record", "name": "R", "fields": [{"name": "unit-price", "type": "int"}]}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "bytes", "logicalType": "decimal", '
        '"precision": 40, "scale": 2}}]}',
    ],
)
def test_what_no_row_can_be_decoded_with_is_said_to_be_so(text: str) -> None:
    with pytest.raises(UnusableSchema):
        record_type(text)
