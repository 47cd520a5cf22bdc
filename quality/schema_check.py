"""What a writer's schema would do to Bronze, Silver, dbt, the suites and the row rules. Reads files, starts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql.types import StructType

from lakehouse.contracts.avro_types import UnusableSchema, record_type
from lakehouse.contracts.debezium import row_image
from lakehouse.contracts.declared import captured_fields, inventory_fields
from lakehouse.contracts.policy import Field, FieldOutcome, Outcome, compare
from lakehouse.errors import LakehouseError
from lakehouse.settings import PROJECT_ROOT
from lakehouse.tables import CAPTURED, INVENTORY_EVENTS, INVENTORY_LEVELS, CapturedTable, TableSpec
from quality.rules import CHANGE_RULES, INVENTORY_RULES, Rule

DBT_MODELS = PROJECT_ROOT / "dbt" / "models"
SUITES = Path(__file__).parent
_CAPTURED = {table.changes.table: table for table in CAPTURED}
TABLES = (INVENTORY_EVENTS.table, *_CAPTURED)


class SchemaCanNotBeRead(LakehouseError):
    """The file holds no schema that rows could be decoded with."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"This schema can't be used: {reason}. Records written with it would all be rejected.")


@dataclass(frozen=True)
class Report:
    """What to print, and whether every row that the writer can write would land."""

    lines: tuple[str, ...]
    is_safe: bool


@dataclass(frozen=True)
class _Target:
    """One Bronze table: what it declares, and who reads it."""

    fields: Sequence[Field]
    rules: Sequence[Rule]
    silver: TableSpec | None
    suite: str
    captured: CapturedTable | None = None


def check(text: str, table: str) -> Report:
    """Compare a schema (JSON text) with what `table` declares. Raises `SchemaCanNotBeRead`."""
    target = _target(table)
    try:
        outcomes = compare(_row(text, target), target.fields, has_text_forms=target.captured is not None)
    except UnusableSchema as error:
        raise SchemaCanNotBeRead(str(error)) from error
    unsafe = [one for one in outcomes if not one.is_safe]
    width = max(len(one.name) for one in outcomes)
    lines = [f"  {one.name:<{width}}  {_described(one)}" for one in outcomes]
    for one in unsafe:
        reads = list(readers(table, one.name)) or ["nobody after Bronze"]
        lines += [f"{one.name} is read by:", *[f"  {reader}" for reader in reads]]
    verdict = f"not safe: {', '.join(one.name for one in unsafe)}" if unsafe else "safe"
    return Report((f"{table}:", *lines, f"This schema is {verdict}."), not unsafe)


def readers(table: str, field: str) -> Iterator[str]:
    """Who reads a field of a Bronze table further on: Silver columns, dbt models, row rules, suites."""
    target = _target(table)
    if target.silver:
        if field in target.silver.columns:
            yield f"column {target.silver.name}.{field}"
        yield from (f"dbt model {name}" for name in _dbt_models(target.silver.table, field))
    yield from (f"row rule {rule.name}" for rule in target.rules if rule.reads(field))
    if re.search(rf"\b{re.escape(field)}\b", (SUITES / target.suite).read_text("utf-8")):
        yield f"suite quality/{target.suite}"


def _target(table: str) -> _Target:
    if table == INVENTORY_EVENTS.table:
        return _Target(inventory_fields(), INVENTORY_RULES, INVENTORY_LEVELS, "inventory_suite.py")
    found = _CAPTURED[table]
    silver, suite = (found.silver, f"{found.name}_suite.py") if found.has_silver else (None, "changes_suite.py")
    return _Target(captured_fields(found), CHANGE_RULES.get(found.name, ()), silver, suite, found)


def _row(text: str, target: _Target) -> StructType:
    record = record_type(text)
    is_envelope = target.captured is not None and "after" in record.names
    return row_image(record) if is_envelope else record


def _described(one: FieldOutcome) -> str:
    found = one.found.simpleString() if one.found else ""
    if one.outcome is Outcome.RENAMED:
        return f"{one.outcome}, {one.source}"
    if one.found and one.declared and one.found != one.declared:
        return f"{one.outcome} ({found} for {one.declared.simpleString()})"
    return str(one.outcome)


def _dbt_models(silver_table: str, field: str) -> list[str]:
    """Models that name the field and are built, by models that name it, on this Silver table."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted(DBT_MODELS.rglob("*.sql"))}
    naming = {name: text for name, text in texts.items() if re.search(rf"\b{re.escape(field)}\b", text)}
    found = {name for name, text in naming.items() if f"source('silver', '{silver_table}')" in text}
    while True:
        more = {name for name, text in naming.items() if any(f"ref('{one}')" in text for one in found)} - found
        if not more:
            return sorted(found)
        found |= more
