"""`lakehouse schema check`: what a new writer schema would do, before it is deployed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyspark import SparkContext

from lakehouse.contracts.declared import inventory_schema
from quality.schema_check import SchemaCanNotBeRead, check
from quality.schema_commands import schema


def changed(*drop: str, **fields: Any) -> str:
    """The contract of stock movements without some fields, and with others added or replaced."""
    contract = json.loads(inventory_schema())
    kept = [one for one in contract["fields"] if one["name"] not in (*drop, *fields)]
    return json.dumps(contract | {"fields": kept + [{"name": name, "type": kind} for name, kind in fields.items()]})


def run(tmp_path: Path, text: str, *options: str) -> Result:
    file = tmp_path / "new.avsc"
    file.write_text(text, "utf-8")
    return CliRunner().invoke(schema, ["check", str(file), *options])


def test_an_added_field_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparkContext, "_ensure_initialized", lambda *_, **__: pytest.fail("Spark was started"))
    result = run(tmp_path, changed(note=["null", "string"]))
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "This schema is safe.")
    assert "note            kept in _unknown_fields" in result.output


def test_a_field_that_disappears_is_named_with_its_readers(tmp_path: Path) -> None:
    result = run(tmp_path, changed("on_hand"))
    assert result.exit_code == 1
    lines = [line.strip() for line in result.output.splitlines()]
    assert "on_hand         every row goes to the quarantine (missing_field)" in lines
    assert lines[lines.index("on_hand is read by:") + 1 :] == [
        "column silver.inventory_levels.on_hand",
        "dbt model reorder_points",
        "dbt model stg_inventory_levels",
        "row rule negative_on_hand",
        "suite quality/inventory_suite.py",
        "This schema is not safe: on_hand.",
    ]


@pytest.mark.parametrize(
    ("text", "is_safe"),
    [
        (changed(sequence="int"), True),
        (changed(on_hand="long"), False),
        (changed(on_hand="string"), False),
        (changed(sku=["null", "string"]), False),
        (changed(sku={"type": "enum", "name": "Sku", "symbols": ["a"]}), True),
    ],
)
def test_only_a_schema_by_which_no_row_is_rejected_is_safe(text: str, is_safe: bool) -> None:
    assert check(text, "inventory_events").is_safe is is_safe


def test_a_row_of_a_captured_table_is_checked_by_its_text_forms() -> None:
    types = {"product_id": "string", "product_name": "string", "category": "string", "description": "string"}
    types |= {"unit_cost": "string", "unit_price": "string", "updated_at": "string"}
    row = {"type": "record", "name": "Value", "fields": [{"name": n, "type": t} for n, t in types.items()]}
    assert check(json.dumps(row), "products_changes").is_safe
    row["fields"] = row["fields"][:-1]
    report = check(json.dumps(row), "products_changes")
    assert not report.is_safe
    assert "  dbt model stg_products" in report.lines


def test_what_is_no_schema_is_refused_with_a_sentence() -> None:
    with pytest.raises(SchemaCanNotBeRead, match="would all be rejected"):
        check('{"type": "object"}', "inventory_events")
