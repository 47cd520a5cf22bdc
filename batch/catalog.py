"""Tables by name, for those that can't read by path (dbt, JDBC clients). Each driver fills its catalog from paths."""

from __future__ import annotations

from pyspark.sql import SparkSession

from lakehouse.errors import UnsafeIdentifier
from lakehouse.tables.spec import TABLE_NAME


def register(spark: SparkSession, name: str, path: str) -> None:
    """Let the session know the Delta table at `path` as `name` (`layer.table`), in place of what it knew before.

    The table is external: its files are never touched. Raises `UnsafeIdentifier` for a name outside the grammar.
    """
    forget(spark, name)
    spark.catalog.createTable(name, path=path, source="delta")


def forget(spark: SparkSession, name: str) -> None:
    """Remove a table from the session's catalog; its files stay. Raises `UnsafeIdentifier`."""
    layer, _, _ = checked(name).partition(".")
    spark.sql(f"create schema if not exists {layer}")
    spark.sql(f"drop table if exists {name}")


def show(spark: SparkSession, name: str, path: str, version: int | None = None) -> None:
    """Make `name` a view of the Delta table at `path`, as of `version` or of its newest. Raises `UnsafeIdentifier`."""
    layer, _, _ = checked(name).partition(".")
    spark.sql(f"create schema if not exists {layer}")
    quoted = path.replace("`", "``")
    as_of = "" if version is None else f" version as of {int(version)}"
    spark.sql(f"create or replace view {name} as select * from delta.`{quoted}`{as_of}")  # noqa: S608  # allow-listed


def checked(name: str) -> str:
    """The name itself, if it is `layer.table` of ours. Raises `UnsafeIdentifier`."""
    if not TABLE_NAME.fullmatch(name) or "/" in name:
        raise UnsafeIdentifier(name, "layer.table in lower snake_case")
    return name
