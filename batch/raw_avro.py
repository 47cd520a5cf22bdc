"""Debezium's Avro (Confluent wire format) -> the JSON that Debezium would have sent, for `batch.raw_json`.

Record by record in Python: for records from outside. The streams decode with Spark (streaming/framing.py), much faster.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import fastavro
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, BinaryType, StringType, StructField, StructType

PREFIX_BYTES = 5


def as_json(records: DataFrame, schemas: Mapping[int, str]) -> DataFrame:
    """The records with key and value as JSON, the original value as `raw`, and `_reasons` of those that are no Avro of
    one of the `schemas` (texts by id), null for the others.
    """
    texts = dict(schemas)
    added = [
        StructField("raw", BinaryType()),
        StructField("_reasons", ArrayType(StringType())),
    ]
    result = StructType([*records.schema.fields, *added])

    def convert(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        parsed = {one: fastavro.parse_schema(json.loads(text)) for one, text in texts.items()}
        for frame in frames:
            keys = [_opened(message, parsed) for message in frame["key"]]
            values = [_opened(message, parsed) for message in frame["value"]]
            reasons = [_reason(value) or _reason(key) for key, value in zip(keys, values, strict=True)]
            columns: dict[str, list[Any]] = {
                "raw": list(frame["value"]),
                "key": [_text(one) for one in keys],
                "value": [_text(one) for one in values],
                "_reasons": reasons,
            }
            yield frame.assign(
                **{name: pd.Series(column, dtype=object, index=frame.index) for name, column in columns.items()}
            )

    return records.mapInPandas(convert, result)


def _opened(message: bytes | None, parsed: Mapping[int, Any]) -> Any:
    """The record, or the name of what is wrong with the message, or None."""
    if message is None:
        return None
    if len(message) < PREFIX_BYTES or message[0]:
        return "bad_framing"
    schema = parsed.get(int.from_bytes(message[1:PREFIX_BYTES], "big"))
    if schema is None:
        return "unknown_schema_id"
    body = io.BytesIO(message[PREFIX_BYTES:])
    try:
        record = fastavro.schemaless_reader(body, schema, None)
    except Exception:  # whatever bytes do to a decoder
        return "undecodable_body"
    return "trailing_bytes" if body.read(1) else record


def _reason(opened: Any) -> list[str] | None:
    return [opened] if isinstance(opened, str) else None


def _text(opened: Any) -> bytes | None:
    return None if opened is None or isinstance(opened, str) else json.dumps(opened, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
