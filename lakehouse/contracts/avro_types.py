"""The types that Spark reads an Avro schema as, worked out without Spark. A test holds the two together."""

from __future__ import annotations

import json
import re
from typing import Any

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    NullType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

PRIMITIVES: dict[str, DataType] = {
    "null": NullType(),
    "boolean": BooleanType(),
    "int": IntegerType(),
    "long": LongType(),
    "float": FloatType(),
    "double": DoubleType(),
    "bytes": BinaryType(),
    "string": StringType(),
}
LOGICAL: dict[tuple[str, str], DataType] = {
    ("int", "date"): DateType(),
    ("long", "timestamp-millis"): TimestampType(),
    ("long", "timestamp-micros"): TimestampType(),
    ("long", "local-timestamp-millis"): TimestampNTZType(),
    ("long", "local-timestamp-micros"): TimestampNTZType(),
}


NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MOST_DIGITS = 38


class UnusableSchema(ValueError):
    """A schema that no row can be decoded with: no Avro, no record, recursive, broken, or without types in Spark."""


def record_type(text: str) -> StructType:
    """The struct of a record schema (JSON text). Raises `UnusableSchema`."""
    try:
        found = _Reader().data_type(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableSchema(f"no usable Avro schema: {error}") from error
    if not isinstance(found, StructType):
        raise UnusableSchema(f"a record was expected, and found {found.simpleString()}")
    return found


class _Reader:
    """Named types are known by name once they were read; one that is met inside itself is recursive."""

    def __init__(self) -> None:
        self._named: dict[str, DataType | None] = {}

    def data_type(self, schema: Any, namespace: str = "") -> DataType:
        if isinstance(schema, list):
            return self._union(schema, namespace)
        if isinstance(schema, str):
            return PRIMITIVES[schema] if schema in PRIMITIVES else self._known(schema, namespace)
        kind = schema["type"]
        if kind in ("record", "error", "enum", "fixed"):
            return self._name(schema, namespace)
        if kind == "array":
            return ArrayType(self.data_type(schema["items"], namespace))
        if kind == "map":
            return MapType(StringType(), self.data_type(schema["values"], namespace))
        if kind == "bytes" and schema.get("logicalType") == "decimal":
            return _decimal(schema)
        if isinstance(kind, str) and (kind, schema.get("logicalType", "")) in LOGICAL:
            return LOGICAL[kind, schema["logicalType"]]
        return self.data_type(kind, namespace)

    def _known(self, name: str, namespace: str) -> DataType:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        found = self._named[full if full in self._named else name]
        if found is None:
            raise UnusableSchema(f"{name} holds itself, which has no fixed columns")
        return found

    def _name(self, schema: dict[str, Any], namespace: str) -> DataType:
        name = schema["name"]
        inner = name.rpartition(".")[0] or schema.get("namespace", namespace)
        full = name if "." in name or not inner else f"{inner}.{name}"
        self._named[full] = None
        self._named[full] = found = self._body(schema, inner)
        return found

    def _body(self, schema: dict[str, Any], namespace: str) -> DataType:
        if schema["type"] == "enum":
            return StringType()
        if schema["type"] == "fixed":
            is_decimal = schema.get("logicalType") == "decimal"
            return _decimal(schema) if is_decimal else BinaryType()
        fields = [(one["name"], one["type"]) for one in schema["fields"]]
        names = [name.lower() for name, _ in fields]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UnusableSchema(f"{twice} are names of several fields where upper and lower case are one")
        if odd := [name for name, _ in fields if not NAME.fullmatch(name)]:
            raise UnusableSchema(f"{odd} are no names in Avro")
        return StructType([StructField(n, self.data_type(t, namespace), _is_nullable(t)) for n, t in fields])

    def _union(self, members: list[Any], namespace: str) -> DataType:
        types = [self.data_type(one, namespace) for one in members if one != "null"]
        if not types:
            return NullType()
        if len(types) == 1:
            return types[0]
        if {one.typeName() for one in types} == {"integer", "long"}:
            return LongType()
        if {one.typeName() for one in types} == {"float", "double"}:
            return DoubleType()
        return StructType([StructField(f"member{number}", one) for number, one in enumerate(types)])


def _decimal(schema: dict[str, Any]) -> DecimalType:
    precision, scale = schema["precision"], schema.get("scale", 0)
    if not 0 < precision <= MOST_DIGITS or not 0 <= scale <= precision:
        raise UnusableSchema(f"a decimal of {precision} digits, {scale} of them behind the point, has no type in Spark")
    return DecimalType(precision, scale)


def _is_nullable(schema: Any) -> bool:
    return schema == "null" or (isinstance(schema, list) and "null" in schema)
