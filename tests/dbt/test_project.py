"""The dbt project as it is written: what must be described, tested and declared. Needs no Spark."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from batch import dbt_outcome, gold
from batch.report_content import read_morning
from batch.report_tables import ReportTables
from lakehouse.settings import Settings
from lakehouse.tables import MARTS

KEYS = {
    "dim_customers": "customer_id",
    "dim_products": "product_id",
    "fct_orders": "order_id",
    "agg_daily_sales": "order_date, category, region, segment",
    "customer_segments": "customer_id",
    "daily_funnel": "event_date",
    "reorder_points": "sku, warehouse_id",
}
CALCULATING = {
    "int_order_items",
    "fct_orders",
    "dim_customers",
    "dim_products",
    "stg_customers",
    "stg_products",
    "agg_daily_sales",
    "customer_segments",
    "daily_funnel",
    "reorder_points",
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("dbt-home")
    settings = Settings(home=home, _env_file=None)  # type: ignore[call-arg]
    return gold.parse(settings, {"business_date": "2026-11-23", "warehouse": settings.warehouse})


def models(manifest: Any) -> dict[str, Any]:
    return {node.name: node for node in manifest.nodes.values() if node.resource_type == "model"}


def data_tests_on(manifest: Any, model: str) -> list[Any]:
    return [
        node
        for node in manifest.nodes.values()
        if node.resource_type == "test" and node.attached_node == f"model.lakehouse.{model}"
    ]


def test_every_model_and_every_column_is_described(manifest: Any) -> None:
    bare = [name for name, node in models(manifest).items() if not node.description.strip()]
    bare += [
        f"{name}.{column.name}"
        for name, node in models(manifest).items()
        for column in node.columns.values()
        if not column.description.strip()
    ]
    assert bare == []
    assert all(node.columns for node in models(manifest).values())


def test_every_view_declares_the_columns_that_it_ends_with(manifest: Any) -> None:
    # Marts are held to it by their contract at build time.
    views = {name: node for name, node in models(manifest).items() if node.config.materialized == "view"}
    for name, node in views.items():
        ending = node.raw_code.partition("final as (")[2]
        select = ending.partition("select")[2].partition("\n    from ")[0]
        if "union all" in ending or "*" in select:
            continue
        written = [line.strip().rstrip(",") for line in re.sub(r"--.*", "", select).splitlines() if line.strip()]
        ends = [
            line.rpartition(" as ")[2].rpartition(".")[2] for line in written if re.search(r"(^|as )[a-z_]+$", line)
        ]
        assert [one for one in ends if one not in node.columns] == [], name


def test_the_marts_are_the_tables_that_are_published(manifest: Any) -> None:
    built = {name for name, node in models(manifest).items() if node.config.materialized != "view"}
    assert built == set(MARTS)


def test_every_mart_is_tested_for_the_uniqueness_of_its_key(manifest: Any) -> None:
    assert set(KEYS) == set(MARTS)
    for mart, key in KEYS.items():
        held = set()
        for test in data_tests_on(manifest, mart):
            if test.test_metadata.name == "unique":
                held.add(test.column_name)
            elif test.test_metadata.name == "unique_combination":
                held.add(", ".join(test.test_metadata.kwargs["columns"]))
        assert key in held, mart


def test_every_mart_has_a_reader_that_is_named(manifest: Any) -> None:
    read = {one.rpartition(".")[2] for exposure in manifest.exposures.values() for one in exposure.depends_on.nodes}
    assert read == set(MARTS)


def test_the_morning_report_reads_the_marts_that_its_exposure_names(
    manifest: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    monkeypatch.setattr(ReportTables, "rows", lambda _, needs, *__, **___: asked.update(needs.split()) or [])
    read_morning(settings, date(2026, 11, 23))
    named = manifest.exposures["exposure.lakehouse.morning_report"].depends_on.nodes
    assert {one.rpartition(".")[2] for one in named} == asked & set(MARTS)


def test_every_model_that_calculates_has_a_unit_test(manifest: Any) -> None:
    assert {test.model for test in manifest.unit_tests.values()} == CALCULATING


def test_every_mart_has_a_contract_with_a_type_for_each_column_and_no_float_for_money(manifest: Any) -> None:
    not_money = {"daily_demand", "demand_stddev"}
    for mart in MARTS:
        node = models(manifest)[mart]
        assert node.contract.enforced, mart
        types = {column.name: column.data_type for column in node.columns.values()}
        assert all(types.values()), mart
        assert {name for name, kind in types.items() if kind in ("float", "double")} <= not_money, mart


def test_the_sources_are_the_tables_that_a_build_registers(manifest: Any) -> None:
    named = {f"{source.schema}.{source.name}" for source in manifest.sources.values()}
    assert named == {spec.name for spec in gold.SOURCES}


def test_every_kind_of_test_says_what_it_is_about(manifest: Any) -> None:
    used = {node.test_metadata.name for node in manifest.nodes.values() if node.resource_type == "test"}
    assert used == set(dbt_outcome.DIMENSIONS)
    assert used == set(dbt_outcome.EXPECTED)


def test_candidates_are_built_below_the_warehouse_of_the_settings(manifest: Any) -> None:
    for mart in MARTS:
        node = models(manifest)[mart]
        assert node.schema == "candidate"
        assert node.config.extra["location_root"].endswith("/warehouse/candidate")


def test_the_project_holds_no_python(manifest: Any) -> None:
    assert list(Path(gold.PROJECT).rglob("*.py")) == []
