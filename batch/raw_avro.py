"""Debezium's Avro (Confluent wire format) -> the JSON with its schema that Debezium would have sent, for
`batch.raw_json`.

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
DEEPEST = 4
"""So many levels down has the schema what `batch.sent_forms` asks for: record, row, column, element."""


def as_json(records: DataFrame, schemas: Mapping[int, str]) -> DataFrame:
    """The records with key and value as JSON and its schema, the original value as `raw`, and `_reasons` of those that
    are no Avro of one of the `schemas` (texts by id), null for the others.
    """
    texts = dict(schemas)
    added = [
        StructField("raw", BinaryType()),
        StructField("_reasons", ArrayType(StringType())),
    ]
    result = StructType([*records.schema.fields, *added])

    def convert(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        parsed = {one: fastavro.parse_schema(json.loads(text)) for one, text in texts.items()}
        sent = {one: json.dumps(_as_sent(schema, {}, DEEPEST)) for one, schema in parsed.items()}
        for frame in frames:
            keys = [_opened(message, parsed) for message in frame["key"]]
            values = [_opened(message, parsed) for message in frame["value"]]
            reasons = [_reason(value) or _reason(key) for key, value in zip(keys, values, strict=True)]
            columns: dict[str, list[Any]] = {
                "raw": list(frame["value"]),
                "key": [_text(one, message, sent) for one, message in zip(keys, frame["key"], strict=True)],
                "value": [_text(one, message, sent) for one, message in zip(values, frame["value"], strict=True)],
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
    schema = parsed.get(_schema_id(message))
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


def _schema_id(message: bytes) -> int:
    return int.from_bytes(message[1:PREFIX_BYTES], "big")


def _text(opened: Any, message: bytes, sent: Mapping[int, str]) -> bytes | None:
    if opened is None or isinstance(opened, str):
        return None
    payload = json.dumps(opened, default=_plain)
    return f'{{"schema": {sent[_schema_id(message)]}, "payload": {payload}}}'.encode()


def _as_sent(schema: Any, named: dict[str, Any], levels: int) -> dict[str, Any]:
    """What Connect's own schema says of a type: as what its values come in the JSON, and under which name."""
    if isinstance(schema, list):
        schema = next((one for one in schema if one != "null"), "null")
    schema = named.get(schema, {"type": schema}) if isinstance(schema, str) else schema
    if "name" in schema:
        named[schema["name"]] = schema
    # The reader makes a number or a moment of what has a logical type; it is written as text.
    kind = "string" if "logicalType" in schema else schema["type"]
    found = {"type": kind, "name": schema.get("connect.name")}
    if levels and kind == "record":
        fields = [{"field": one["name"]} | _as_sent(one["type"], named, levels - 1) for one in schema["fields"]]
        return found | {"type": "struct", "fields": fields}
    if levels and kind == "array":
        return found | {"items": _as_sent(schema["items"], named, levels - 1)}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
