"""Values that Debezium leaves out: a large column that an update did not touch arrives as a placeholder."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DateType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from lakehouse.tables import CapturedTable

PLACEHOLDER = "__debezium_unavailable_value"
UUID_PLACEHOLDER = str(uuid.UUID(bytes=hashlib.md5(PLACEHOLDER.encode(), usedforsecurity=False).digest(), version=3))
"""What stands for the elements of a uuid[]."""
HSTORE_PLACEHOLDER = json.dumps({PLACEHOLDER: PLACEHOLDER}, separators=(",", ":"))
"""What stands for an hstore that is sent as a text."""


def large_columns(table: CapturedTable) -> list[str]:
    """The columns that may be left out: those that Postgres can store out of line. A key never is."""
    return [one.name for one in table.columns if one.name not in table.keys and _has_placeholder(one.dataType)]


def is_left_out(value: Column, kind: DataType) -> Column:
    """Whether a value is the placeholder, in the form that Debezium or `placeholder` gives it for this type; never
    null.
    """
    if isinstance(kind, StructType):
        return F.coalesce(_is_marked(value, kind), F.lit(False))
    if isinstance(kind, ArrayType) and isinstance(kind.elementType, StructType):
        return F.coalesce((F.size(value) == 1) & _is_marked(F.get(value, 0), kind.elementType), F.lit(False))
    sent = F.map_keys(value) if isinstance(kind, MapType) else value
    is_one = [sent == form for form in _placeholders(kind)]
    return F.coalesce(reduce(Column.__or__, is_one, F.lit(False)), F.lit(False))


def placeholder(kind: DataType) -> Column | None:
    """The value of a type that stands for one that is left out; None for a type that has none."""
    if not _has_placeholder(kind):
        return None
    if isinstance(kind, StructType):
        return _marked(kind)
    if isinstance(kind, ArrayType) and isinstance(kind.elementType, StructType):
        return F.array(_marked(kind.elementType))
    if isinstance(kind, MapType):
        return F.create_map(F.lit(PLACEHOLDER), F.lit(None).cast(kind.valueType))
    return _placeholders(kind)[0]


def names_left_out(table: CapturedTable) -> Column:
    """The names of the columns that a change leaves out, as an array; null where it has all values."""
    names = [F.when(_lacks(table.columns[name]), F.lit(name)) for name in large_columns(table)]
    if not names:
        return F.lit(None).cast("array<string>")
    found = F.array_compact(F.array(*names))
    return F.when(F.size(found) > 0, found)


def value_after(field: StructField) -> Column:
    """The value after a change; null where it is left out and not known from the row before the change."""
    after, before = F.col("after")[field.name], F.col("before")[field.name]
    if not _has_placeholder(field.dataType):
        return after
    known = F.when(_is_known(before, field.dataType), before)
    return F.when(is_left_out(after, field.dataType), known).otherwise(after)


def is_named(name: str, names: Column) -> Column:
    """Whether a column is among the names; false where there are none."""
    return F.coalesce(F.array_contains(names, name), F.lit(False))


def without(names: Column, resolved: Sequence[Column]) -> Column:
    """The names but for those of `resolved` (each a name or null); null where none is left."""
    rest = F.array_except(names, F.array_compact(F.array(*resolved))) if resolved else names
    return F.when(F.size(rest) > 0, rest)


def _lacks(field: StructField) -> Column:
    after, before = F.col("after")[field.name], F.col("before")[field.name]
    return is_left_out(after, field.dataType) & ~_is_known(before, field.dataType)


def _is_known(before: Column, kind: DataType) -> Column:
    # Under REPLICA IDENTITY FULL the row before has the value. Under the others its values may be invented, and are
    # empty then; a value that is stored out of line is not.
    if isinstance(kind, StructType):
        has_value = reduce(Column.__or__, [before[name].isNotNull() for name in kind.names], F.lit(False))
    else:
        has_value = (F.size(before) if isinstance(kind, ArrayType | MapType) else F.length(before)) > 0
    return F.coalesce(~is_left_out(before, kind) & has_value, F.lit(False))


def _has_placeholder(kind: DataType) -> bool:
    inner = kind.elementType if isinstance(kind, ArrayType) else kind
    return _mark(inner) is not None if isinstance(inner, StructType) else bool(_placeholders(kind))


def _mark(kind: StructType) -> StructField | None:
    """The field that has the placeholder in a struct that is left out: its first text."""
    return next((one for one in kind if isinstance(one.dataType, StringType)), None)


def _marked(kind: StructType) -> Column:
    """A struct that has the placeholder in its mark and is null elsewhere: Debezium has no form for structs."""
    mark = _mark(kind)
    values = [F.lit(PLACEHOLDER if one is mark else None).cast(one.dataType).alias(one.name) for one in kind]
    return F.struct(*values)


def _is_marked(value: Column, kind: StructType) -> Column:
    mark = _mark(kind)
    if mark is None:
        return F.lit(False)
    others = [value[one.name].isNull() for one in kind if one is not mark]
    return reduce(Column.__and__, others, value[mark.name] == PLACEHOLDER)


def _placeholders(kind: DataType) -> list[Column]:
    """The forms of the placeholder for a type. Debezium has none for arrays of other types: it does not send those."""
    if isinstance(kind, StringType):
        return [F.lit(PLACEHOLDER), F.lit(HSTORE_PLACEHOLDER)]
    if isinstance(kind, BinaryType):
        return [F.lit(PLACEHOLDER.encode())]
    if isinstance(kind, MapType) and isinstance(kind.keyType, StringType):
        return [F.array(F.lit(PLACEHOLDER))]
    if not isinstance(kind, ArrayType):
        return []
    if isinstance(kind.elementType, StringType):
        return [F.array(F.lit(PLACEHOLDER)), F.array(F.lit(UUID_PLACEHOLDER))]
    if isinstance(kind.elementType, BinaryType):
        return [F.array(F.lit(PLACEHOLDER.encode()))]
    # Its bytes as numbers; the dates of an array are numbers of days.
    numbers = [F.lit(one) for one in PLACEHOLDER.encode()]
    if isinstance(kind.elementType, DateType):
        return [F.array(*map(F.date_from_unix_date, numbers))]
    if isinstance(kind.elementType, IntegerType | LongType):
        return [F.array(*numbers).cast(kind)]
    return []
