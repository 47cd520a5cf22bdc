"""Confluent wire format on Columns: a zero byte, the schema's id in four bytes (big-endian), the Avro body.

Decoding costs what plain `from_avro` costs, and finds what that does not see: bytes after the end of the record. The
message is decoded as one larger record: its frame, the event, and eight bytes that we append. If they are read back as
they were, the event ended where the message ended (docs/decisions/0009-trailing-bytes.md).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

PREFIX_BYTES = 5
# Eight different bytes that are one finite double: read without an object per row, and no part of them overlaps itself.
END_BYTES = bytes.fromhex("8b4c61d67a3fe541")
END = struct.unpack("<d", END_BYTES)[0]
UNKNOWN_SCHEMA = "unknown_schema_id"
MAX_BYTES = 1_048_576
"""Default of `settings.max_record_bytes`."""


def prefix_of(schema_id: int) -> bytes:
    """The five bytes that stand before a body written with this schema id."""
    return b"\x00" + schema_id.to_bytes(4, "big")


def is_framed(message: Column) -> Column:
    """At least five bytes, the first of them zero."""
    return (F.length(message) >= PREFIX_BYTES) & message.startswith(F.lit(b"\x00"))


def schema_id(message: Column) -> Column:
    """The id in the frame as an int; null where there is no frame."""
    digits = F.conv(F.hex(F.substring(message, 2, 4)), 16, 10)
    # Four bytes can name more than an int holds; no registry gives such ids, and null then means `unknown`.
    return F.when(is_framed(message), digits.cast("bigint").try_cast("int"))


def has_schema(message: Column, ids: Sequence[int]) -> Column:
    """Whether the message was written with one of these schemas: a compare of five bytes where they are, no parsing
    and no copy.
    """
    return reduce(Column.__or__, [message.startswith(F.lit(prefix_of(one))) for one in ids], F.lit(False))


def _framed_record(fields: list[dict[str, object]]) -> str:
    return json.dumps({"type": "record", "name": "LakehouseFramed", "fields": fields})


def decode_each(message: str, schemas: Mapping[int, str], stem: str) -> dict[str, Column]:
    """One column `<stem><id>` per writer schema: struct<event, end>, where the row has that id, else null.

    A body that can't be decoded gives a struct of nulls; `end` differs from `END` where the body does not end with the
    event. Separate columns keep Spark from decoding once per field that is read later.
    """
    columns = {}
    for one, schema in schemas.items():
        start: dict[str, object] = {
            "name": "frame",
            "type": {"type": "fixed", "name": "LakehouseFrame", "size": PREFIX_BYTES},
        }
        rest: list[dict[str, object]] = [
            {"name": "event", "type": json.loads(schema)},
            {"name": "end", "type": "double"},
        ]
        # The reader's schema leaves the frame out: five bytes are skipped, where a substring would copy all the others.
        options = {"mode": "PERMISSIVE", "avroSchema": _framed_record(rest)}
        whole = F.concat(F.col(message), F.lit(END_BYTES))
        record = from_avro(whole, _framed_record([start, *rest]), options)
        columns[f"{stem}{one}"] = F.when(has_schema(F.col(message), [one]), record)
    return columns


def first_of(columns: Sequence[Column], kind: str) -> Column:
    """The first that is not null, of the type `kind`. A row has one schema id, so of all decoded columns one is set."""
    return F.coalesce(*columns) if columns else F.lit(None).cast(kind)


def ends_well(decoded: Sequence[str]) -> Column:
    """Whether one of the decoded columns holds an event that ends where its message ends; never null."""
    return F.coalesce(first_of([F.col(name)["end"] for name in decoded], "double") == F.lit(END), F.lit(False))


def contract_reasons(
    message: Column, known: Sequence[int], rejected: Mapping[int, Sequence[str]], decoded: Sequence[str], max_bytes: int
) -> Column:
    """Why a message that did not end well is rejected, as an array: the first of these that applies. Never null.

    `known` are the ids that the registry gave a schema for, `rejected` the reasons of those by whose schema no row can
    land.
    """

    def because(reason: str) -> Column:
        return F.array(F.lit(reason))

    why = (
        F.when(message.isNull(), because("null_value"))
        .when(~is_framed(message), because("bad_framing"))
        .when(F.length(message) > max_bytes, because("oversize"))
        .when(~has_schema(message, known), because(UNKNOWN_SCHEMA))
    )
    for one, reasons in rejected.items():
        why = why.when(has_schema(message, [one]), F.array(*[F.lit(reason) for reason in reasons]))
    end = first_of([F.col(name)["end"] for name in decoded], "double")
    return why.when(end.isNull(), because("undecodable_body")).otherwise(because("trailing_bytes"))
