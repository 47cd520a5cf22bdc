"""What happens to each field when a writer's schema differs from the declared one (docs/schema-changes.md).

The streams decode by these outcomes and `lakehouse schema check` prints them, so the two can't disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pyspark.sql.types import DataType, DecimalType, StructField, StructType


class Outcome(StrEnum):
    """What becomes of one field's values. Never a null that was not declared."""

    LANDS = "lands"
    PARSED = "lands, read from its text form"
    RENAMED = "lands, read from its old name"
    NULL = "null, as declared"
    RESCUED = "kept in _unknown_fields"
    BY_VALUE = "lands where the value fits; other rows go to the quarantine (type_does_not_fit)"
    NEEDS_VALUE = "lands; rows without a value go to the quarantine (null_in_required_field)"
    MISSING = "every row goes to the quarantine (missing_field)"
    INCOMPATIBLE = "every row goes to the quarantine (incompatible_type)"


REJECTS_ALL = {Outcome.MISSING: "missing_field", Outcome.INCOMPATIBLE: "incompatible_type"}
"""Outcomes by which no row of a schema lands, with the reason that the rows get."""
SAFE = {Outcome.LANDS, Outcome.PARSED, Outcome.RENAMED, Outcome.NULL, Outcome.RESCUED}
"""Outcomes by which no row of a schema is rejected for its schema."""


@dataclass(frozen=True)
class Field:
    """A declared field: its Spark type, and what is agreed for writers that differ."""

    name: str
    type: DataType
    is_nullable: bool = True
    may_be_missing: bool = False
    """Whether a writer's record may lack it; the column is then null."""
    aliases: tuple[str, ...] = ()
    """Other names under which writers send it."""


@dataclass(frozen=True)
class FieldOutcome:
    """One line of a comparison: `name` is the declared name (the writer's, for an unknown field)."""

    name: str
    outcome: Outcome
    source: str = ""
    """The writer's name of the field; empty where it has none."""
    found: DataType | None = None
    declared: DataType | None = None
    can_be_null: bool = False
    """Whether the writer may send null where the contract demands a value."""

    @property
    def is_safe(self) -> bool:
        """Whether no row is rejected because of this field's schema."""
        return self.outcome in SAFE


def compare(found: StructType, declared: Sequence[Field], has_text_forms: bool = False) -> tuple[FieldOutcome, ...]:
    """The outcome of each declared field, in order, then of each field that only the writer has.

    `has_text_forms`: the source sends decimals, dates and times as text (Debezium as we configure it).
    """
    by_name = {field.name: field for field in found}
    outcomes = [_declared(by_name, field, has_text_forms) for field in declared]
    used = {one.source for one in outcomes}
    unknown = [
        FieldOutcome(field.name, Outcome.RESCUED, field.name, field.dataType)
        for field in found
        if field.name not in used
    ]
    return (*outcomes, *unknown)


def rejections(outcomes: Sequence[FieldOutcome]) -> list[str]:
    """The reasons, `what:field`, that every row of a schema with these outcomes gets; empty where rows can land."""
    return [f"{REJECTS_ALL[one.outcome]}:{one.name}" for one in outcomes if one.outcome in REJECTS_ALL]


def _declared(by_name: dict[str, StructField], field: Field, has_text_forms: bool) -> FieldOutcome:
    source = next((name for name in (field.name, *field.aliases) if name in by_name), "")
    if not source:
        outcome = Outcome.NULL if field.may_be_missing else Outcome.MISSING
        return FieldOutcome(field.name, outcome, declared=field.type)
    found = by_name[source]
    outcome = _fit(found.dataType, field.type, has_text_forms)
    can_be_null = found.nullable and not field.is_nullable
    if outcome is Outcome.LANDS and can_be_null:
        outcome = Outcome.NEEDS_VALUE
    elif outcome is Outcome.LANDS and source != field.name:
        outcome = Outcome.RENAMED
    return FieldOutcome(field.name, outcome, source, found.dataType, field.type, can_be_null)


LOSSLESS = {("integer", "long"), ("integer", "double"), ("float", "double")}
PARSED = {"date", "timestamp", "decimal"}
BY_VALUE = {("long", "integer"), ("string", "integer"), ("string", "long")}


def _fit(found: DataType, declared: DataType, has_text_forms: bool) -> Outcome:
    pair = (found.typeName(), declared.typeName())
    if found == declared or found.simpleString() == declared.simpleString() or pair in LOSSLESS:
        return Outcome.LANDS
    if isinstance(found, DecimalType) and isinstance(declared, DecimalType):
        is_wider = (
            declared.scale >= found.scale and declared.precision - declared.scale >= found.precision - found.scale
        )
        return Outcome.LANDS if is_wider else Outcome.INCOMPATIBLE
    if pair[0] == "string" and pair[1] in PARSED and has_text_forms:
        return Outcome.PARSED
    # Text is a number's form only where the source sends values as text; elsewhere it is another type.
    if pair in BY_VALUE and (pair[0] == "long" or has_text_forms):
        return Outcome.BY_VALUE
    return Outcome.INCOMPATIBLE
