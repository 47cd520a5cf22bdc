"""The only reader and writer of Delta tables. Tables are addressed by path; a catalog is never needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from lakehouse.errors import SchemaMismatch, TableMissing
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec

MADE_BY = {
    "bronze": "lakehouse stream all --until-caught-up",
    "silver": "lakehouse batch silver",
    "candidate": "lakehouse night run",
    "gold": "lakehouse night run",
}
USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
APPLICATION = "spark.databricks.delta.write.txnAppId"
BATCH = "spark.databricks.delta.write.txnVersion"


@dataclass(frozen=True)
class Mark:
    """What makes a write happen once: an application id bound to the checkpoint, and the batch's number."""

    application: str
    batch: int


def exists(spark: SparkSession, spec: TableSpec, settings: Settings) -> bool:
    """Whether there is a Delta table at the path of `spec`."""
    return DeltaTable.isDeltaTable(spark, spec.path(settings))


def ensure(spark: SparkSession, spec: TableSpec, settings: Settings) -> DeltaTable:
    """Create the table empty where it is absent; give one that exists the declared columns that it lacks, null in the
    rows that are there, and with them the declared properties. Never drops or retypes a column.
    """
    if not exists(spark, spec, settings):
        builder = DeltaTable.createIfNotExists(spark).location(spec.path(settings)).addColumns(spec.schema)
        builder = builder.comment(spec.comment)
        if spec.partition_by:
            builder = builder.partitionedBy(*spec.partition_by)
        for name, value in spec.properties.items():
            builder = builder.property(name, value)
        builder.execute()
    found = DeltaTable.forPath(spark, spec.path(settings))
    if _lacks(found.toDF().schema, spec.schema):
        # No rows: the commit only widens the schema, also inside of structs.
        nothing = spark.createDataFrame([], spec.schema).write.format("delta").mode("append")
        nothing.option("mergeSchema", True).save(spec.path(settings))
        _declare_properties(found, spec, settings)
    return found


def has_all_columns(spark: SparkSession, spec: TableSpec, settings: Settings) -> bool:
    """Whether the table is there with all declared columns: `ensure` would change nothing."""
    if not exists(spark, spec, settings):
        return False
    return not _lacks(DeltaTable.forPath(spark, spec.path(settings)).toDF().schema, spec.schema)


def _declare_properties(table: DeltaTable, spec: TableSpec, settings: Settings) -> None:
    """Set the properties that the table has otherwise, so that a new column has the statistics that are declared."""
    row = table.detail().select("properties").first()
    held = row["properties"] if row else {}
    if differing := {name: value for name, value in spec.properties.items() if held.get(name) != value}:
        pairs = ", ".join(f"'{name}' = '{value}'" for name, value in differing.items())
        path = spec.path(settings).replace("`", "``")
        table.toDF().sparkSession.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ({pairs})")


def _lacks(found: StructType, wanted: StructType) -> bool:
    """Whether a column, or a field of a struct column, is wanted and not there."""
    types = {field.name: field.dataType for field in found}
    for field in wanted:
        inner = types.get(field.name)
        if inner is None:
            return True
        if isinstance(field.dataType, StructType) and isinstance(inner, StructType) and _lacks(inner, field.dataType):
            return True
    return False


def table(spark: SparkSession, spec: TableSpec, settings: Settings) -> DeltaTable:
    """The Delta handle of a table. Raises `TableMissing`."""
    if not exists(spark, spec, settings):
        raise TableMissing(spec.name, spec.path(settings), MADE_BY.get(spec.layer, "lakehouse night run"))
    return DeltaTable.forPath(spark, spec.path(settings))


def read(spark: SparkSession, spec: TableSpec, settings: Settings, version: int | None = None) -> DataFrame:
    """The rows of a table, as of `version` or now. Raises `TableMissing`."""
    table(spark, spec, settings)
    reader = spark.read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", version)
    return reader.load(spec.path(settings))


def read_now(spark: SparkSession, spec: TableSpec, settings: Settings) -> DataFrame:
    """The rows of a table as of now, whatever is committed while the frame is used. Raises `TableMissing`."""
    return read(spark, spec, settings, version(spark, spec, settings))


def changes_since(spark: SparkSession, spec: TableSpec, settings: Settings, after: int, through: int) -> DataFrame:
    """The rows that the commits behind version `after`, up to `through`, added and took away: the change feed, with
    `_change_type`. Raises `TableMissing`.
    """
    table(spark, spec, settings)
    reader = spark.read.format("delta").option("readChangeFeed", True)
    return reader.option("startingVersion", after + 1).option("endingVersion", through).load(spec.path(settings))


def version(spark: SparkSession, spec: TableSpec, settings: Settings) -> int:
    """Number of the newest commit. Raises `TableMissing`."""
    newest = table(spark, spec, settings).history(1).select("version").first()
    return int(newest[0]) if newest else 0


def newest_metadata(spark: SparkSession, spec: TableSpec, settings: Settings, field: str) -> dict[str, Any]:
    """The metadata of the newest commit that carries `field`, as a dictionary; empty where there is none."""
    if not exists(spark, spec, settings):
        return {}
    history = table(spark, spec, settings).history().select("version", "userMetadata").where("userMetadata is not null")
    for row in history.orderBy("version", ascending=False).toLocalIterator():
        try:
            entry = json.loads(row["userMetadata"])
        except ValueError:
            continue
        if isinstance(entry, dict) and field in entry:
            return entry
    return {}


def fits(frame: DataFrame, spec: TableSpec) -> DataFrame:
    """The frame itself if it has exactly the declared columns and types. Raises `SchemaMismatch` with all
    differences.
    """
    found = {field.name: field.dataType for field in frame.schema}
    wanted = {field.name: field.dataType for field in spec.schema}
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    retyped = [
        f"{name} ({found[name].simpleString()} instead of {wanted[name].simpleString()})"
        for name in wanted
        # simpleString leaves nullability out: Delta columns are nullable, and that is not part of our declarations.
        if name in found and found[name].simpleString() != wanted[name].simpleString()
    ]
    if missing or unexpected or retyped:
        raise SchemaMismatch(spec.name, missing, unexpected, retyped)
    return frame.select(*spec.columns)


def append(frame: DataFrame, spec: TableSpec, settings: Settings, metadata: str = "") -> None:
    """Append the rows in one commit; creates the table where it is absent."""
    ensure(frame.sparkSession, spec, settings)
    writer = fits(frame, spec).write.format("delta").mode("append")
    if metadata:
        writer = writer.option("userMetadata", metadata)
    writer.save(spec.path(settings))


def overwrite(
    frame: DataFrame, spec: TableSpec, settings: Settings, metadata: str = "", where: str | None = None
) -> None:
    """Replace all rows (or those that match `where`, a predicate that is ours) in one commit."""
    ensure(frame.sparkSession, spec, settings)
    writer = fits(frame, spec).write.format("delta").mode("overwrite")
    if where:
        writer = writer.option("replaceWhere", where)
    if metadata:
        writer = writer.option("userMetadata", metadata)
    writer.save(spec.path(settings))


def replace(frame: DataFrame, spec: TableSpec, settings: Settings, metadata: str) -> None:
    """Replace rows and columns of a table in one commit, also its first, which gives it the declared properties:
    readers see all of the old or all of the new.
    """
    writer = frame.write.format("delta").mode("overwrite").option("overwriteSchema", True).options(**spec.properties)
    writer.option("userMetadata", metadata).save(spec.path(settings))


@contextmanager
def commit_metadata(spark: SparkSession, entry: dict[str, Any], mark: Mark | None = None) -> Iterator[None]:
    """Give the commits inside the block this metadata (MERGE takes none as an option).

    With a `mark` the block holds one commit and no other, and it happens once: Delta skips a mark that it knows.
    """
    text = json.dumps(entry, default=str, separators=(",", ":"))
    given = {USER_METADATA: text} | ({APPLICATION: mark.application, BATCH: str(mark.batch)} if mark else {})
    before = {name: spark.conf.get(name, None) for name in given}
    for name, value in given.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, was in before.items():
            if was is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, was)
