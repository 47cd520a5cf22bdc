"""Confluent wire format on Columns: a zero byte, the schema's id in four bytes (big-endian), the Avro body."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

PREFIX_BYTES = 5
WHOLE = 2_147_483_647


def prefix_of(schema_id: int) -> bytes:
    """The five bytes that stand before a body written with this schema id."""
    return b"\x00" + schema_id.to_bytes(4, "big")


def is_framed(message: Column) -> Column:
    """At least five bytes, the first of them zero."""
    return (F.length(message) >= PREFIX_BYTES) & (F.substring(message, 1, 1) == F.lit(b"\x00"))


def schema_id(message: Column) -> Column:
    """The id in the frame as an int; null where there is no frame."""
    digits = F.conv(F.hex(F.substring(message, 2, 4)), 16, 10)
    # Four bytes can name more than an int holds; no registry gives such ids, and null then means `unknown`.
    return F.when(is_framed(message), digits.cast("bigint").try_cast("int"))


def has_schema(message: Column, ids: list[int]) -> Column:
    """Whether the message was written with one of these schemas: a compare of five bytes, no parsing."""
    if not ids:
        return F.lit(False)
    return F.substring(message, 1, PREFIX_BYTES).isin(*[prefix_of(one) for one in ids])


def decode_each(frame: DataFrame, message: str, schemas: Mapping[int, str], stem: str, reader: str = "") -> DataFrame:
    """Add one column `<stem><id>` per writer schema: the decoded struct where the row has that id, else null.

    A body that can't be decoded gives a struct of nulls. `reader` resolves each writer's schema to one reader's schema.
    Separate columns keep Spark from decoding once per field that is read later.
    """
    options = {"mode": "PERMISSIVE"} | ({"avroSchema": reader} if reader else {})
    body = F.substring(F.col(message), PREFIX_BYTES + 1, WHOLE)
    columns = {
        f"{stem}{one}": F.when(
            F.substring(F.col(message), 1, PREFIX_BYTES) == F.lit(prefix_of(one)), from_avro(body, schema, options)
        )
        for one, schema in schemas.items()
    }
    return frame.withColumns(columns)


def first_match(message: str, schemas: Mapping[int, str], of: Mapping[int, Column], otherwise: Column) -> Column:
    """The column `of[id]` for the id that the message carries; `otherwise` where it carries none of them."""
    prefix = F.substring(F.col(message), 1, PREFIX_BYTES)
    return reduce(
        lambda rest, one: F.when(prefix == F.lit(prefix_of(one)), of[one]).otherwise(rest), schemas, otherwise
    )
