"""Changes that can't be merged -> a quarantine, once, however often they are delivered."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable, TableSpec
from quality import rules


def keep_rejected(
    rows: DataFrame, table: CapturedTable, spec: TableSpec, settings: Settings, stage: str, raw_value: Column
) -> None:
    """Add rows with the origin of a change (`_topic`, `_partition`, `_offset`, `_key`, `_kafka_at`) and `_reasons` to
    the quarantine of `spec`, where they are not there yet. `raw_value`: the bytes to keep.
    """
    delta_io.ensure(rows.sparkSession, spec, settings)
    kept = delta_io.table(rows.sparkSession, spec, settings).alias("row")
    once = _rejected(rows, table, spec, stage, raw_value).dropDuplicates(["quarantine_id"])
    merge = kept.merge(once.alias("change"), "row.quarantine_id = change.quarantine_id")
    merge.whenNotMatchedInsertAll().execute()


def _rejected(rows: DataFrame, table: CapturedTable, spec: TableSpec, stage: str, raw_value: Column) -> DataFrame:
    origin = F.concat_ws("\x1f", F.lit(spec.table), "_topic", F.col("_partition").cast("string"), "_offset")
    known = {
        "quarantine_id": F.sha2(origin, 256).substr(1, 16),
        "stream": F.lit(table.changes.table),
        "stage": F.lit(stage),
        "reasons": F.col("_reasons"),
        "rule_version": F.lit(rules.VERSION),
        "raw_key": F.col("_key"),
        "raw_value": raw_value,
        "origin": F.col("_topic"),
        "origin_partition": F.col("_partition"),
        "origin_position": F.col("_offset"),
        "arrived_at": F.col("_kafka_at"),
    }
    if "_schema_id" in rows.columns:
        known["schema_id"] = F.col("_schema_id")
    columns = [
        known.get(field.name, F.col(field.name) if field.name in rows.columns else F.lit(None))
        .cast(field.dataType)
        .alias(field.name)
        for field in spec.schema
    ]
    return rows.select(*columns)
