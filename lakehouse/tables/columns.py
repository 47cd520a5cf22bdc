"""Column lists as text, `name type, name type`, read without a running Spark (Spark's own reader asks the JVM)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

SIMPLE: dict[str, DataType] = {
    "string": StringType(),
    "int": IntegerType(),
    "bigint": LongType(),
    "double": DoubleType(),
    "boolean": BooleanType(),
    "date": DateType(),
    "timestamp": TimestampType(),
    "binary": BinaryType(),
}
DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
NESTED = re.compile(r"(array|map|struct)<(.*)>")


def columns(text: str) -> StructType:
    """The struct type of `name type, name type, ...`; raises `ValueError` for a type that no declared table uses."""
    pairs = (part.split(maxsplit=1) for part in _parts(text))
    return StructType([StructField(name, data_type(kind)) for name, kind in pairs])


def data_type(text: str) -> DataType:
    """One type in Spark's own notation: `bigint`, `decimal(12,2)`, `map<string,string>`, `struct<a:int>`.

    Raises `ValueError` for a type that no declared table uses.
    """
    text = text.strip()
    if text in SIMPLE:
        return SIMPLE[text]
    if decimal := DECIMAL.fullmatch(text):
        return DecimalType(int(decimal[1]), int(decimal[2]))
    nested = NESTED.fullmatch(text)
    if nested is None:
        raise ValueError(
            f"{text!r} is no type of a declared table: expected one of {', '.join(SIMPLE)}, decimal or nested"
        )
    inner = list(_parts(nested[2]))
    if nested[1] == "array":
        return ArrayType(data_type(inner[0]))
    if nested[1] == "map":
        return MapType(data_type(inner[0]), data_type(inner[1]))
    return StructType([StructField(name, data_type(kind)) for name, kind in (one.split(":", 1) for one in inner)])


def _parts(text: str) -> Iterator[str]:
    """Split at the commas that stand outside of all brackets."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and not depth:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()
