"""Debezium's Avro (Confluent wire format) -> the JSON with its schema that Debezium would have sent, for
`batch.raw_json`.

Record by record in Python: for records from outside. The streams decode with Spark (streaming/framing.py), much faster.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, BinaryType, StringType, StructField, StructType

PREFIX_BYTES = 5
DEEPEST = 4
"""So many levels down has the schema what `batch.sent_forms` asks for: record, row, column, element."""


class NoJsonForm(Exception):
    """A value of a Python type that is written in JSON in no known way; its text is the type's name."""


@dataclass(frozen=True)
class Opened:
    """A message as JSON with its schema, or the reason why it is none; neither where there is no message, or null."""

    text: bytes | None = None
    reason: str | None = None


def as_json(records: DataFrame, schemas: Mapping[int, str]) -> DataFrame:
    """The records with key and value as JSON and its schema, the original value as `raw`, and `_reasons` of those that
    are no Avro of one of the `schemas` (texts by id) or have no JSON form, null for the others.
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
            keys = [opened(message, parsed, sent) for message in frame["key"]]
            values = [opened(message, parsed, sent) for message in frame["value"]]
            reasons = [value.reason or key.reason for key, value in zip(keys, values, strict=True)]
            columns: dict[str, list[Any]] = {
                "raw": list(frame["value"]),
                "key": [one.text for one in keys],
                "value": [one.text for one in values],
                "_reasons": [reason and [reason] for reason in reasons],
            }
            yield frame.assign(
                **{name: pd.Series(column, dtype=object, index=frame.index) for name, column in columns.items()}
            )

    return records.mapInPandas(convert, result)


def opened(message: bytes | None, parsed: Mapping[int, Any], sent: Mapping[int, str]) -> Opened:
    """Decode one message by the `parsed` schema of its id; `sent` has Connect's schema, as JSON, for the same ids."""
    if message is None:
        return Opened()
    if len(message) < PREFIX_BYTES or message[0]:
        return Opened(reason="bad_framing")
    schema = parsed.get(_schema_id(message))
    if schema is None:
        return Opened(reason="unknown_schema_id")
    body = io.BytesIO(message[PREFIX_BYTES:])
    try:
        record = fastavro.schemaless_reader(body, schema, None)
        payload = json.dumps(_plain(record), allow_nan=False)
    except NoJsonForm as error:
        return Opened(reason=f"no_json_form:{error}")
    except Exception:  # whatever bytes do to a decoder
        return Opened(reason="undecodable_body")
    if body.read(1):
        return Opened(reason="trailing_bytes")
    if record is None:
        return Opened()
    return Opened(f'{{"schema": {sent[_schema_id(message)]}, "payload": {payload}}}'.encode())


def _schema_id(message: bytes) -> int:
    return int.from_bytes(message[1:PREFIX_BYTES], "big")


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
    """The value in JSON's own types. Raises `NoJsonForm`."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else _spelled(value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise NoJsonForm(type(value).__name__)


def _spelled(value: float) -> str:
    # JSON has no such number: Spark's reader would refuse the record. A column of numbers takes them as text.
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
