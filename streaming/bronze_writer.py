"""The shared writer of all Bronze streams: split, count, balance, quarantine first, Bronze last with the ledger
entry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import lakehouse
from lakehouse import delta_io, metrics
from lakehouse.delta_io import Mark
from lakehouse.errors import BatchDoesNotBalance
from lakehouse.ledger_entry import Entry
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec, quarantine_of
from quality import rules
from streaming import checkpoint
from streaming.writer_schemas import Registry, WriterSchemas, learn

log = get_logger(__name__)


@dataclass(frozen=True)
class BronzeStream:
    """How one Bronze table is fed: its topics and its pure `transform` (Kafka rows, writer schemas) -> declared
    columns.

    `expand` turns notifications into the rows that they announce (objects into lines); `origin` gives the three columns
    that tell where a rejected row came from.
    """

    spec: TableSpec
    topics: tuple[str, ...]
    transform: Callable[[DataFrame, WriterSchemas], DataFrame]
    event_time: str
    has_holes: bool = False
    """Whether the topic's log has offsets without rows by design (transaction markers of exactly-once producers)."""
    is_awaited: bool = False
    """Whether somebody waits for its rows now, so that its batches follow each other quickly."""
    expand: Callable[[DataFrame, Settings], DataFrame] | None = None
    origin: tuple[str, str, str] = ("_topic", "_partition", "_offset")


class BronzeWriter:
    """The `foreachBatch` function of one stream."""

    def __init__(self, spark: SparkSession, settings: Settings, stream: BronzeStream, registry: Registry) -> None:
        self._settings = settings
        self._stream = stream
        self._registry = registry
        self._schemas = WriterSchemas()
        self._checkpoint = checkpoint.location(stream.spec, settings)
        self._query_id = ""
        delta_io.ensure(spark, stream.spec, settings)

    def __call__(self, batch: DataFrame, batch_id: int) -> None:
        """Write one micro-batch whole or not at all. Raises `BatchDoesNotBalance`."""
        started = time.monotonic()
        spark = batch.sparkSession
        self._query_id = self._query_id or checkpoint.query_id(spark, self._checkpoint)
        frame, counts = self._judge(batch, batch_id)
        try:
            entry = self._balance(spark, batch, batch_id, counts)
            self._commit(frame, entry)
        finally:
            frame.unpersist()
        self._tell(entry, time.monotonic() - started)

    def _judge(self, batch: DataFrame, batch_id: int) -> tuple[DataFrame, list[Row]]:
        raw = self._stream.expand(batch, self._settings) if self._stream.expand else batch
        while True:
            judged = self._stream.transform(self._stamped(raw, batch_id), self._schemas)
            frame = judged.persist(StorageLevel.MEMORY_AND_DISK)
            counts = self._count(frame)
            has_unknown = any("unknown_schema_id" in (row.reasons or ()) for row in counts)
            if not (has_unknown and learn(raw, self._schemas, self._registry)):
                return frame, counts
            # The batch held schemas that were not known yet: decode again with them.
            frame.unpersist()

    @staticmethod
    def _stamped(raw: DataFrame, batch_id: int) -> DataFrame:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
        return raw.withColumns(
            {"_ingested_at": F.lit(now).cast("timestamp"), "_batch_id": F.lit(batch_id).cast("bigint")}
        )

    def _count(self, frame: DataFrame) -> list[Row]:
        event_time = F.when(F.col("_reasons").isNull(), F.col(self._stream.event_time))
        grouped = frame.groupBy(F.col("_reasons").alias("reasons"), F.col("_filtered_as").alias("filtered_as"))
        found = grouped.agg(
            F.count(F.lit(1)).alias("rows"), F.min(event_time).alias("first"), F.max(event_time).alias("last")
        ).collect()
        return [Row(**row.asDict()) for row in found]

    def _balance(self, spark: SparkSession, batch: DataFrame, batch_id: int, counts: list[Row]) -> Entry:
        ranges = checkpoint.promised_ranges(spark, self._checkpoint, batch_id)
        read = sum(row.rows for row in counts)
        promised = sum(one.size for one in ranges)
        if self._stream.expand:
            notified = batch.count()
            if notified != promised:
                raise BatchDoesNotBalance(
                    self._stream.spec.table, batch_id, promised, notified, "notifications of objects"
                )
            promised = read
        firsts = [row.first for row in counts if row.first is not None]
        lasts = [row.last for row in counts if row.last is not None]
        entry = Entry(
            stream=self._stream.spec.table,
            query_id=self._query_id,
            batch_id=batch_id,
            ranges=ranges,
            rows_promised=promised,
            rows_read=read,
            rows_written=sum(row.rows for row in counts if not row.reasons and not row.filtered_as),
            quarantined=_sums(("+".join(row.reasons), row.rows) for row in counts if row.reasons),
            filtered=_sums((row.filtered_as, row.rows) for row in counts if row.filtered_as and not row.reasons),
            offset_holes=promised - read if self._stream.has_holes else 0,
            first_event_at=min(firsts).isoformat() if firsts else None,
            last_event_at=max(lasts).isoformat() if lasts else None,
            code_version=lakehouse.__version__,
        )
        if not entry.balances or entry.offset_holes < 0:
            raise BatchDoesNotBalance(self._stream.spec.table, batch_id, promised, read, entry.to_json())
        return entry

    def _commit(self, frame: DataFrame, entry: Entry) -> None:
        spec, settings = self._stream.spec, self._settings
        mark = Mark(f"{spec.name}/{self._query_id}", entry.batch_id)
        if entry.rows_quarantined:
            quarantine = quarantine_of(spec.table)
            delta_io.ensure(frame.sparkSession, quarantine, settings)
            rejected = frame.where(F.col("_reasons").isNotNull())
            delta_io.append_once(_quarantined(rejected, self._stream), quarantine, settings, mark)
        good = frame.where(F.col("_reasons").isNull() & F.col("_filtered_as").isNull())
        delta_io.append_once(good.select(*spec.columns), spec, settings, mark, entry.to_json())

    def _tell(self, entry: Entry, seconds: float) -> None:
        log.info(
            "batch_committed",
            stream=entry.stream,
            batch=entry.batch_id,
            read=entry.rows_read,
            written=entry.rows_written,
            quarantined=entry.quarantined,
            filtered=entry.filtered,
            seconds=round(seconds, 2),
        )
        metrics.count_batch(entry, seconds)


@dataclass(frozen=True)
class Row:
    """Rows of one batch that share their reasons and their filter."""

    reasons: list[str] | None
    filtered_as: str | None
    rows: int
    first: datetime | None
    last: datetime | None


def _sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, rows in pairs:
        totals[name] = totals.get(name, 0) + rows
    return totals


def _quarantined(rejected: DataFrame, stream: BronzeStream) -> DataFrame:
    place, partition, position = (F.col(name) if name else F.lit(None) for name in stream.origin)
    name = stream.spec.table
    identity: list[Column] = [
        F.lit(name),
        place,
        F.coalesce(partition.cast("string"), F.lit("")),
        position.cast("string"),
    ]
    has_schema_id = "_schema_id" in rejected.columns
    return rejected.select(
        F.sha2(F.concat_ws("\x1f", *identity), 256).substr(1, 16).alias("quarantine_id"),
        F.lit(name).alias("stream"),
        F.lit("bronze").alias("stage"),
        F.lit("open").alias("status"),
        F.col("_reasons").alias("reasons"),
        F.lit(rules.VERSION).alias("rule_version"),
        F.col("_raw_key").alias("raw_key"),
        F.col("_raw").alias("raw_value"),
        (F.col("_schema_id") if has_schema_id else F.lit(None).cast("int")).alias("schema_id"),
        place.alias("origin"),
        partition.cast("int").alias("origin_partition"),
        position.cast("bigint").alias("origin_position"),
        F.col("_kafka_at" if "_kafka_at" in rejected.columns else "_ingested_at").alias("arrived_at"),
        "_ingested_at",
        "_batch_id",
    )
