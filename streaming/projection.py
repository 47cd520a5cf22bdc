"""A decoded record -> the declared fields, by the outcomes of the comparison of its writer's schema with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, DataType, DateType, DecimalType, MapType, StructType

from lakehouse.contracts.avro_types import UnusableSchema, record_type
from lakehouse.contracts.policy import Field, FieldOutcome, Outcome, compare, rejections
from quality.rules import names_where


@dataclass(frozen=True)
class Plan:
    """The writers of a topic: how to read the records of those that fit, and why those of the others are rejected."""

    schemas: Mapping[int, str]
    """Of the writers whose records can land."""
    outcomes: Mapping[int, tuple[FieldOutcome, ...]]
    rejected: Mapping[int, Sequence[str]]
    """Reasons by schema id."""
    records: Mapping[int, StructType]
    """The whole record's type by schema id."""


def plan(
    schemas: Mapping[int, str],
    declared: Sequence[Field],
    row_of: Callable[[StructType], StructType] = lambda record: record,
    has_text_forms: bool = False,
) -> Plan:
    """Compare each writer's schema with the declared fields. `row_of` finds the row inside the record; it raises
    `UnusableSchema` where there is none.
    """
    outcomes: dict[int, tuple[FieldOutcome, ...]] = {}
    rejected: dict[int, Sequence[str]] = {}
    records = {}
    for one, schema in schemas.items():
        try:
            records[one] = record_type(schema)
            outcomes[one] = compare(row_of(records[one]), declared, has_text_forms)
        except UnusableSchema:
            rejected[one] = ["unusable_schema"]
            continue
        if reasons := rejections(outcomes[one]):
            rejected[one] = reasons
    fitting = {one: schema for one, schema in schemas.items() if one not in rejected}
    return Plan(fitting, {one: outcomes[one] for one in fitting}, rejected, records)


def value_of(record: Column, one: FieldOutcome) -> Column:
    """The declared column of a record; null where the writer has no such field and the contract allows that."""
    assert one.declared is not None, f"{one.name} is not declared"
    if not one.source:
        return F.lit(None).cast(one.declared)
    value = record[one.source]
    return value if one.found == one.declared else _cast(value, one.declared)


def misfits(record: Column, outcomes: Sequence[FieldOutcome]) -> Column | None:
    """Reasons of the values that a record has and its declared columns can't hold, as an array, null where all fit.

    None where by the schemas there can't be one.
    """
    found = [pair for one in outcomes if one.declared is not None and one.source for pair in _doubts(record, one)]
    if not found:
        return None
    return F.when(record.isNotNull(), names_where(found))


def _doubts(record: Column, one: FieldOutcome) -> list[tuple[Column, str]]:
    doubts = []
    value = record[one.source]
    if one.outcome in (Outcome.BY_VALUE, Outcome.PARSED):
        assert one.declared is not None
        is_lost = value.isNotNull() & _cast(value, one.declared).isNull()
        if isinstance(one.declared, DecimalType):
            # A cast rounds away digits that the column has no place for.
            exact = value.try_cast(DecimalType(38, one.declared.scale + 6))
            is_lost = value.isNotNull() & ~F.coalesce(exact == _cast(value, one.declared), F.lit(False))
        doubts.append((is_lost, f"type_does_not_fit:{one.name}"))
    if one.can_be_null:
        doubts.append((value.isNull(), f"null_in_required_field:{one.name}"))
    return doubts


def unknown_fields(record: Column, outcomes: Sequence[FieldOutcome]) -> Column:
    """The fields that are not declared, as a map from name to text; null where the writer has none of them."""
    unknown = [one for one in outcomes if one.outcome is Outcome.RESCUED]
    if not unknown:
        return F.lit(None).cast("map<string,string>")
    pairs = [side for one in unknown for side in (F.lit(one.name), _as_text(record[one.source], one.found))]
    return F.when(record.isNotNull(), F.create_map(*pairs))


def _as_text(value: Column, kind: DataType | None) -> Column:
    if isinstance(kind, StructType | ArrayType | MapType):
        return F.to_json(value)
    return F.base64(value) if isinstance(kind, BinaryType) else value.cast("string")


def _cast(value: Column, wanted: DataType) -> Column:
    # Debezium's ISO dates end in Z, which the cast does not take.
    text = F.regexp_replace(value, "Z$", "") if isinstance(wanted, DateType) else value
    return text.try_cast(wanted)
