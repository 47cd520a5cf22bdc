"""The two places of a mart: the candidate that dbt builds, and the published copy that people and tools read."""

from __future__ import annotations

from pyspark.sql.types import StructType

from lakehouse.tables import TableSpec

# Columns, types and keys are declared once, in dbt/models/marts/*.yml.
DECLARED_BY_DBT = StructType()


def candidate(mart: str) -> TableSpec:
    """`candidate.<mart>`: built, and read by the checks only."""
    return TableSpec(f"candidate.{mart}", DECLARED_BY_DBT, (), "Built by dbt and not yet published.")


def published(mart: str) -> TableSpec:
    """`gold.<mart>`: what readers see."""
    return TableSpec(f"gold.{mart}", DECLARED_BY_DBT, (), "Checked and published.")
