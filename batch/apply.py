"""The public way in: raw Kafka records of a Debezium topic -> Bronze and Silver of one table, under a base path.

    from batch.apply import apply_changes
    from lakehouse.tables import CapturedTable
    from lakehouse.tables.columns import columns

    invoices = CapturedTable("invoices", columns("id bigint, total decimal(12,2), note string"), keys=("id",))
    apply_changes(spark, records, invoices, "/data/lake")

makes `/data/lake/silver/invoices`, `.../invoices_history` and `.../invoices_deleted`, and keeps what it read in
`/data/lake/bronze/invoices_changes`, what it rejected in `/data/lake/ops/quarantine/invoices_changes`. Records may come
in any order, in any cut and again: the same tables come out (docs/merging-changes.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch import captured_tables, raw_json, sent_forms
from batch.keep_rejected import keep_rejected
from batch.kept import kept
from batch.raw_avro import as_json
from lakehouse import delta_io, lease
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable, TableSpec, quarantine_of


@dataclass(frozen=True)
class Applied:
    """What became of the records of one call. `records = changes + rejected + tombstones`."""

    records: int
    changes: int
    rejected: int
    tombstones: int


def apply_changes(
    spark: SparkSession,
    records: DataFrame,
    table: CapturedTable | TableSpec,
    base_path: str | Path,
    schemas: Mapping[int, str] | None = None,
    sent_as: Mapping[str, str] | None = None,
) -> Applied:
    """Apply records of the change topic of one table; safe to call again with the same ones, or with older ones.

    `records` has key and value (binary), topic, partition, offset, timestamp, and may have headers
    (array<struct<key:string,value:binary>>): JSON with or without the schema/payload wrapper, or, with `schemas` (Avro
    schema texts by id), Avro in Confluent's wire format. `table` is a `CapturedTable`, or a `TableSpec` of the source's
    columns and keys. `spark` is a session with Delta (`lakehouse.session.build_session`). `sent_as` says of a column of
    records without a schema in which form its values come: `text` or `base64` for a decimal, `seconds`, `milliseconds`,
    `microseconds` or `nanoseconds` for a timestamp. Where neither says it, a value that could be two is rejected.

    Bad records are kept in the quarantine with every reason. A call that runs for the same table is waited for, up to
    an hour for its Bronze and as long for its merge. Raises `UnknownIncarnation`, `LeaseHeld` when that is over,
    `LeaseLost` and `UnknownForm`.
    """
    captured = _captured(table)
    sent_forms.require(captured, sent_as or {})
    settings = _under(base_path)
    given = records if schemas is None else as_json(records, schemas)
    staged = kept(raw_json.decoded(given, captured, sent_as or {}))
    counts = staged.agg(
        F.count(F.lit(1)).alias("records"),
        F.count_if(F.col("_reasons").isNotNull()).alias("rejected"),
        F.count_if(F.col("_reasons").isNull() & F.col("_is_tombstone")).alias("tombstones"),
    ).first()
    assert counts is not None
    changes = _stamped(staged.where("_reasons is null and not _is_tombstone"), captured)
    # A call that still runs (a retry's first try) is waited for: on S3, two that commit at one moment would overwrite
    # each other's commit. Given back before the merge, which asks for leases in another order.
    with lease.hold(lease.of_stream(captured.changes.table), settings, captured_tables.WAIT_SECONDS) as held:
        if counts["rejected"]:
            rejected = staged.where("_reasons is not null").withColumn("_ingested_at", F.current_timestamp())
            spec = quarantine_of(captured.changes.table)
            keep_rejected(rejected, captured, spec, settings, "bronze", F.col("_raw"))
            held.require()
        delta_io.append(changes, captured.changes, settings)
    captured_tables.merge_given(spark, settings, captured, changes)
    good = counts["records"] - counts["rejected"] - counts["tombstones"]
    return Applied(counts["records"], good, counts["rejected"], counts["tombstones"])


def _captured(table: CapturedTable | TableSpec) -> CapturedTable:
    if isinstance(table, CapturedTable):
        return table
    return CapturedTable(table.table, table.schema, table.keys)


def _under(base_path: str | Path) -> Settings:
    text = str(base_path)
    if "://" in text:
        return Settings(warehouse_uri=text)
    # Leases and the tables in one folder: nothing is written elsewhere.
    return Settings(home=Path(text).absolute(), warehouse_uri=str(Path(text).absolute()))


def _stamped(changes: DataFrame, table: CapturedTable) -> DataFrame:
    at = F.lit(datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")).cast("timestamp")
    columns = [
        F.col(field.name) if field.name in changes.columns else F.lit(None).cast(field.dataType).alias(field.name)
        for field in table.changes.schema
        if field.name != "_ingested_at"
    ]
    return changes.select(*columns, at.alias("_ingested_at")).select(*table.changes.columns)
