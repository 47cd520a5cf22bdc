"""The shared writer of all Bronze streams.

In one pass a batch is decoded, judged, counted and written to files that nobody sees yet. Then the counts are compared
with the offsets that the checkpoint promised. Then it is committed: rejected rows first, Bronze last, with the ledger
entry for both in its commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import lakehouse
from lakehouse import metrics
from lakehouse import positions as bronze_positions
from lakehouse.append import Append, KnownPositions
from lakehouse.delta_io import Mark
from lakehouse.errors import BatchDoesNotBalance
from lakehouse.kafka_offsets import TopicLog, TopicLogs
from lakehouse.kill_points import reach
from lakehouse.lease import Held
from lakehouse.ledger_entry import Entry, OffsetRange
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec
from streaming import checkpoint, continuity, kafka_source, rejected, witness
from streaming.counts import Counts, counted, is_good
from streaming.expansion import Expanded
from streaming.framing import UNKNOWN_SCHEMA
from streaming.stamps import in_all_rows, stamped
from streaming.writer_schemas import Registry, WriterSchemas, learn, learn_in_advance

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
    keeps_partitions: bool = False
    """Whether a key's records are ordered by their place in one partition: then the topic may get no more of them."""
    reads_headers: bool = False
    """Whether `transform` asks for the headers of records."""
    is_awaited: bool = False
    """Whether somebody waits for its rows now, so that its batches follow each other quickly."""
    offsets_per_batch: int | None = None
    """At most so many, where a record stands for more than a row; None: as for all."""
    expand: Callable[[DataFrame, Mark], Expanded] | None = None
    origin: tuple[str, str, str] = ("_topic", "_partition", "_offset")
    originals: Callable[[DataFrame], DataFrame] = kafka_source.originals
    """Rejected rows -> the raw rows that they were, for `transform`."""
    warning_rules: tuple[str, ...] = ()
    """Names of the row rules that only warn."""
    turn: threading.Lock = field(default_factory=threading.Lock, compare=False)
    """Held by whoever writes the stream's tables: a batch, or rows that come back from the quarantine."""


@dataclass(frozen=True)
class _Batch:
    """What is known of a batch before it is read."""

    number: int
    query_id: str
    ranges: tuple[OffsetRange, ...]
    logs: dict[str, TopicLog]
    ingested_at: str


class BronzeWriter:
    """The `foreachBatch` function of one stream, whose lease is held."""

    def __init__(self, settings: Settings, stream: BronzeStream, registry: Registry, held: Held) -> None:
        self._settings = settings
        self._held = held
        self._stream = stream
        self._registry = registry
        self._schemas = learn_in_advance(stream.topics, registry)
        self._logs = TopicLogs(settings)
        self._checkpoint = checkpoint.location(stream.spec, settings)
        self._query_id = ""
        self._bronze, self._quarantine = KnownPositions(), KnownPositions()

    def __call__(self, frame: DataFrame, number: int) -> None:
        """Write one micro-batch whole or not at all, or nothing when Bronze already holds it.

        Raises `BatchDoesNotBalance`, `SourceHasGap`, `PartitionsGrew`, `CheckpointDoesNotContinue` or `LeaseLost`.
        """
        with self._stream.turn:
            self._write_batch(frame, number)

    def _write_batch(self, frame: DataFrame, number: int) -> None:
        started = time.monotonic()
        spark = frame.sparkSession
        append = Append(spark, self._stream.spec, self._settings)
        batch = self._describe(spark, number)
        if self._is_committed(append, batch):
            log.info("batch_was_committed_before", stream=self._stream.spec.table, batch=number)
            return
        reach("before_any_write")
        try:
            mark = Mark(self._mark, number)
            expanded = self._stream.expand(frame, mark) if self._stream.expand else None
            kept = (self._stream, self._settings)
            recorded = rejected.of_an_earlier_try(spark, *kept, batch.ranges, batch.logs, self._quarantine)
            counts, aside, groups = self._write(append, frame, expanded, batch, recorded)
            try:
                gone = rejected.vanished(recorded, aside, self._stream, batch.logs) if recorded and aside else []
                entry = self._balance(expanded, batch, counts, groups, gone, started)
                if aside and (entry.rows_quarantined or recorded):
                    self._held.require()
                    rejected.commit(aside, recorded, *kept, entry, batch.logs, self._quarantine)
                    reach("between_targets")
                if expanded:
                    self._held.require()
                    expanded.remember(mark)
            finally:
                if aside:
                    aside.unpersist()
            self._held.require()
        except BaseException:
            append.discard()
            raise
        self._commit(append, batch, entry)
        reach("after_bronze_commit")
        self._tell(entry, time.monotonic() - started)

    def _describe(self, spark: SparkSession, number: int) -> _Batch:
        self._query_id = self._query_id or checkpoint.query_id(spark, self._checkpoint)
        ranges = checkpoint.promised_ranges(spark, self._checkpoint, number)
        if foreign := sorted({one.topic for one in ranges} ^ set(self._stream.topics)):
            found = [f"{topic} is not in both" for topic in foreign]
            raise continuity.CheckpointDoesNotContinue(self._stream.spec.table, self._checkpoint, found)
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
        return _Batch(number, self._query_id, ranges, self._logs.describe(self._stream.topics), now)

    def _is_committed(self, append: Append, batch: _Batch) -> bool:
        """Whether Bronze holds this batch already. Raises when the batch does not continue what Bronze holds."""
        applications = self._bronze.at(append)
        positions = continuity.positions(applications, batch.logs)
        continuity.require_all_there(self._stream.spec.table, positions, batch.logs, self._stream.keeps_partitions)
        is_marked = applications.get(self._mark, -1) >= batch.number
        if is_marked and positions == continuity.ends(batch.ranges, batch.logs):
            return True
        differences = continuity.differences(positions, batch.ranges, batch.logs)
        if not positions and batch.number:
            differences = [f"Bronze holds nothing and the checkpoint is at batch {batch.number}"]
        elif is_marked and not differences:
            differences = [f"Bronze holds batch {batch.number} with other offsets"]
        if differences:
            raise continuity.CheckpointDoesNotContinue(self._stream.spec.table, self._checkpoint, differences)
        return False

    @property
    def _mark(self) -> str:
        return f"{self._stream.spec.name}/{self._query_id}"

    def _write(
        self, append: Append, frame: DataFrame, expanded: Expanded | None, batch: _Batch, recorded: DataFrame | None
    ) -> tuple[Counts, DataFrame | None, list[rejected.Group]]:
        """Write the good rows to files and count all of them on the way; returns the counts, and the other rows (kept
        until `unpersist`; None where there are none) with their groups.

        `recorded`: the rows that an earlier try of the batch has rejected, which stay so.
        """
        raw = expanded.frame if expanded else frame
        at, number = F.lit(batch.ingested_at).cast("timestamp"), F.lit(batch.number)
        now = stamped(raw, in_all_rows(raw, at), in_all_rows(raw, number))
        while True:
            judged = self._stream.transform(now, self._schemas)
            if recorded is not None:
                judged = rejected.as_then(judged, recorded, self._stream, batch.logs)
            seen, counts = counted(judged, self._stream.event_time, self._stream.warning_rules)
            written = append.write(seen.where(is_good()).select(*self._stream.spec.columns))
            found, taken = counts(), expanded.taken() if expanded else None
            if written != found.good:
                raise BatchDoesNotBalance(
                    self._stream.spec.table, batch.number, found.good, written, "good rows against rows in files"
                )
            if not found.aside and recorded is None:
                return found, None, []
            aside = judged.where(~is_good()).persist(StorageLevel.MEMORY_AND_DISK)
            try:
                groups = rejected.by_name(aside)
                is_unknown = any(UNKNOWN_SCHEMA in (one.reasons or ()) for one in groups)
                has_learned = is_unknown and learn(raw, self._schemas, self._registry)
            except BaseException:
                aside.unpersist()
                raise
            # An object that was put anew or deleted between the two readings is another one in the second.
            is_as_before = expanded is None or expanded.taken() == taken
            if not has_learned and is_as_before:
                return found, aside, groups
            # Or the batch held schemas that were not known yet: decode again with them.
            aside.unpersist()

    def _balance(
        self,
        expanded: Expanded | None,
        batch: _Batch,
        counts: Counts,
        aside: list[rejected.Group],
        gone: list[rejected.Group],
        started: float,
    ) -> Entry:
        taken = expanded.taken() if expanded else None
        records = expanded.notifications if expanded else counts.read
        vanished = sum(one.rows for one in gone)
        holes = witness.holes(self._settings, self._stream, batch.number, batch.ranges, records)
        if not expanded:
            # A record of an earlier try that the log lost meanwhile is counted, and is no hole.
            holes -= vanished
        promised = (taken.rows if taken else records) + holes + vanished
        entry = Entry(
            stream=self._stream.spec.table,
            query_id=batch.query_id,
            batch_id=batch.number,
            ranges=tuple(one for one in batch.ranges if one.size),
            rows_promised=promised,
            rows_read=counts.read + vanished,
            rows_written=counts.good,
            quarantined=_sums(("+".join(one.reasons), one.rows) for one in (*aside, *gone) if one.reasons),
            filtered=_sums((one.filtered_as, one.rows) for one in aside if one.filtered_as and not one.reasons),
            offset_holes=holes,
            first_event_at=counts.first.isoformat() if counts.first else None,
            last_event_at=counts.last.isoformat() if counts.last else None,
            code_version=lakehouse.__version__,
            ingested_at=batch.ingested_at,
            topic_ids={topic: one.topic_id for topic, one in batch.logs.items()},
            duration_ms=round((time.monotonic() - started) * 1000),
            redelivered=taken.redelivered if taken else 0,
            objects=taken.to_ledger() if taken else {},
            warned=counts.warned,
            vanished=vanished,
        )
        if not entry.balances:
            raise BatchDoesNotBalance(self._stream.spec.table, batch.number, promised, entry.rows_read, entry.to_json())
        return entry

    def _commit(self, append: Append, batch: _Batch, entry: Entry) -> None:
        ends = bronze_positions.applications(continuity.ends(batch.ranges, batch.logs))
        self._bronze.commit(append, {self._mark: batch.number} | ends, entry.to_json())

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


def _sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, rows in pairs:
        totals[name] = totals.get(name, 0) + rows
    return totals
