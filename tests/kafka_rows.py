"""Builders of Kafka rows and Avro messages; a test names only what matters."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import fastavro
from pyspark.sql import DataFrame, SparkSession

ARRIVED = datetime(2026, 11, 23, 12, 0, 0)
KAFKA_ROW = (
    "key binary, value binary, topic string, partition int, offset bigint, timestamp timestamp, "
    "headers array<struct<key:string,value:binary>>, _ingested_at timestamp, _batch_id bigint, _replayed_at timestamp"
)


def frame_of(
    spark: SparkSession, values: Sequence[bytes | None], keys: Sequence[bytes | None] | None = None
) -> DataFrame:
    """Kafka rows at offsets 0, 1, 2, ... of one partition."""
    keys = keys or [b"key"] * len(values)
    rows = [
        (key, value, "topic", 0, offset, ARRIVED, [], ARRIVED, 0, None)
        for offset, (key, value) in enumerate(zip(keys, values, strict=True))
    ]
    return spark.createDataFrame(rows, KAFKA_ROW)


def framed(schema: str | dict[str, Any], record: Any, schema_id: int = 7) -> bytes:
    """A record in Confluent's wire format."""
    parsed = fastavro.parse_schema(json.loads(schema) if isinstance(schema, str) else schema)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parsed, record)
    return b"\x00" + schema_id.to_bytes(4, "big") + body.getvalue()


def stock_event(**values: Any) -> dict[str, Any]:
    """A good inventory event."""
    return {
        "event_id": "e1",
        "sku": "P1",
        "warehouse_id": "W1",
        "movement": "sale",
        "quantity_delta": -1,
        "on_hand": 5,
        "sequence": 1,
        "occurred_at": datetime(2026, 11, 23, 11, 59, 59, tzinfo=UTC),
    } | values
