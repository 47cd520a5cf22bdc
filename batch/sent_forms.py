"""In which form Debezium sent a value: the same text is one number as digits and another as base64, and the same number
is one moment in milliseconds and another in microseconds.

The schema of a record says so where it comes along (`provided`); otherwise whoever reads may declare it per column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DecimalType, StructField, TimestampNTZType, TimestampType

from lakehouse.errors import LakehouseError
from lakehouse.tables import CapturedTable

TEXT, BASE64 = "text", "base64"
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
"""Form of a moment -> how many of it make a second."""
BY_NAME = {
    "org.apache.kafka.connect.data.Timestamp": "milliseconds",
    "io.debezium.time.Timestamp": "milliseconds",
    "io.debezium.time.MicroTimestamp": "microseconds",
    "io.debezium.time.NanoTimestamp": "nanoseconds",
}
BY_TYPE = {"bytes": BASE64, "string": TEXT, "double": TEXT, "float": TEXT}
"""A double that is no number comes as a text (`NaN`), which would also be base64."""
SENT_TYPE = "type:string,name:string,parameters:struct<scale:string>"
FIELDS = f"array<struct<field:string,{SENT_TYPE},items:struct<{SENT_TYPE}>>>"
KEY_SCHEMA = f"fields {FIELDS}"
VALUE_SCHEMA = f"fields array<struct<field:string,fields:{FIELDS}>>"


class UnknownForm(LakehouseError):
    """A form is declared for a column that has none of that name."""

    def __init__(self, table: str, column: str, found: str, expected: Iterable[str]) -> None:
        forms = ", ".join(expected) or "nothing: its values have one form only, or it is no column of the table"
        super().__init__(f"{column} of {table} can't be sent as {found!r}: expected {forms}. Change `sent_as`.")


@dataclass(frozen=True)
class Form:
    """The form of one column's values in each record."""

    name: Column
    """`text`, `base64` or a unit; null where neither the record nor a declaration says it."""
    scale: Column
    """Digits behind the point of a number in base64."""


def require(table: CapturedTable, declared: Mapping[str, str]) -> None:
    """Raise `UnknownForm` for a declared form that its column can't have."""
    for name, form in declared.items():
        expected = _forms_of(table.columns[name].dataType) if name in table.columns.names else ()
        if form not in expected:
            raise UnknownForm(table.name, name, form, expected)


def provided(side: str) -> Column:
    """The fields of a row by the schema that came along in the record's `side` (key or value); null without one."""
    sent = F.get_json_object(F.col(side).cast("string"), "$.schema")
    if side == "key":
        return F.from_json(sent, KEY_SCHEMA)["fields"]
    rows = F.from_json(sent, VALUE_SCHEMA)["fields"]
    return F.get(F.filter(rows, lambda one: one["field"] == "after"), 0)["fields"]


def form_of(fields: Column, column: StructField, names: tuple[str, ...], declared: str | None) -> Form:
    """The form of a column that the record calls one of `names`, by the `fields` of `provided` before the declared."""
    if not _forms_of(column.dataType):
        return Form(F.lit(None).cast("string"), F.lit(None).cast("int"))
    field = F.get(F.filter(fields, lambda one: one["field"].isin(*names)), 0)
    is_array = isinstance(column.dataType, ArrayType)
    kind, sent = (column.dataType.elementType, field["items"]) if is_array else (column.dataType, field)  # type: ignore[attr-defined]
    known = BY_TYPE if isinstance(kind, DecimalType) else BY_NAME
    by = sent["type"] if isinstance(kind, DecimalType) else sent["name"]
    scale = sent["parameters"]["scale"].try_cast("int")
    own_scale = F.lit(kind.scale if isinstance(kind, DecimalType) else 0)
    return Form(F.coalesce(F.try_element_at(_map(known), by), F.lit(declared)), F.coalesce(scale, own_scale))


def _forms_of(kind: DataType) -> tuple[str, ...]:
    if isinstance(kind, ArrayType):
        return _forms_of(kind.elementType)
    if isinstance(kind, DecimalType):
        return (TEXT, BASE64)
    return tuple(UNITS) if isinstance(kind, TimestampType | TimestampNTZType) else ()


def _map(known: Mapping[str, str]) -> Column:
    return F.create_map(*[F.lit(part) for pair in known.items() for part in pair])
