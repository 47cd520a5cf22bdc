"""Changes that no merge can place go to `ops.quarantine/silver_<table>`: they stay rows of Bronze, and are named."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable, TableSpec, quarantine_of
from quality import rules

STAGE = "silver"


def quarantine(table: CapturedTable) -> TableSpec:
    """Where the changes of a table go that can't be merged."""
    return quarantine_of(f"silver_{table.name}")


def reasons(table: CapturedTable) -> Column:
    """Why a row of Bronze can't be merged, as an array; null for one that can. A truncate has no key by design."""
    is_truncate = F.col("op") == "t"
    has_key = F.col("key").isNotNull()
    for key in table.keys:
        has_key = has_key & F.col("key")[key].isNotNull()
    found = (
        F.when(F.col("lsn").isNull(), F.lit("missing_position")),
        F.when(~is_truncate & ~F.coalesce(has_key, F.lit(False)), F.lit("missing_key")),
        F.when(F.col("op").isin("r", "c", "u") & F.col("after").isNull(), F.lit("missing_row")),
    )
    named = F.array_compact(F.array(*found))
    return F.when(F.size(named) > 0, named)


def keep(rows: DataFrame, table: CapturedTable, settings: Settings) -> int:
    """Add rows (of Bronze, with `_reasons`) that are not there yet; returns how many rows there were."""
    count = rows.count()
    if not count:
        return 0
    spec = quarantine(table)
    delta_io.ensure(rows.sparkSession, spec, settings)
    kept = delta_io.table(rows.sparkSession, spec, settings).alias("row")
    merge = kept.merge(
        _rejected(rows, table, spec).dropDuplicates(["quarantine_id"]).alias("change"),
        "row.quarantine_id = change.quarantine_id",
    )
    merge.whenNotMatchedInsertAll().execute()
    return count


def _rejected(rows: DataFrame, table: CapturedTable, spec: TableSpec) -> DataFrame:
    origin = F.concat_ws("\x1f", F.lit(spec.table), "_topic", F.col("_partition").cast("string"), "_offset")
    known = {
        "quarantine_id": F.sha2(origin, 256).substr(1, 16),
        "stream": F.lit(table.changes.table),
        "stage": F.lit(STAGE),
        "reasons": F.col("_reasons"),
        "rule_version": F.lit(rules.VERSION),
        "raw_key": F.col("_key"),
        # The bytes are those of Bronze, by this origin; this is the row as it was decoded.
        "raw_value": F.to_json(F.struct("op", "before", "after")).cast("binary"),
        "schema_id": F.col("_schema_id"),
        "origin": F.col("_topic"),
        "origin_partition": F.col("_partition"),
        "origin_position": F.col("_offset"),
        "arrived_at": F.col("_kafka_at"),
    }
    columns = [
        known.get(field.name, F.col(field.name) if field.name in rows.columns else F.lit(None))
        .cast(field.dataType)
        .alias(field.name)
        for field in spec.schema
    ]
    return rows.select(*columns)
