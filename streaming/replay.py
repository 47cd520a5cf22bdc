"""Executes a request about rejected rows: sends the original bytes through the stream's own `transform` again.

Order of commits: Bronze first (the good rows, with a ledger entry), the outcomes last. Whether a row came back is asked
of Bronze itself, so after a crash between the two the same request finds them there and only writes the outcomes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

import lakehouse
from lakehouse import delta_io, few_rows
from lakehouse import positions as bronze_positions
from lakehouse.append import Append
from lakehouse.errors import BatchDoesNotBalance
from lakehouse.kill_points import reach
from lakehouse.lease import Held
from lakehouse.ledger_entry import Entry
from lakehouse.logs import get_logger
from lakehouse.outcomes import DISCARDED, REPLAYED, STILL_BAD
from lakehouse.settings import Settings
from lakehouse.tables import quarantine_of, quarantine_outcomes_of
from lakehouse.tables.columns import columns
from streaming import object_register, quarantine_standing
from streaming.bronze_writer import BronzeStream
from streaming.counts import is_good
from streaming.decisions import Decision, answer, record
from streaming.quarantine_requests import Answer, Request
from streaming.quarantine_standing import OPEN
from streaming.rejected import is_before
from streaming.stamps import stamped
from streaming.writer_schemas import Registry, WriterSchemas, learn

log = get_logger(__name__)
MOST_ROWS = 100_000
"""Of one request; the answer says how many are left. Their ids and reasons pass through the driver."""
IS_OPEN = f"status = '{OPEN}'"


def execute(
    spark: SparkSession,
    settings: Settings,
    stream: BronzeStream,
    registry: Registry,
    request: Request,
    held: Held,
) -> Answer:
    """Do what the request says with the open rows that it means, once, however often it is called.

    `held` is the stream's lease. Raises `LeaseLost`, `BatchDoesNotBalance`, `BadCondition`, or what a rule that stops
    raises; then nothing was committed.
    """
    for spec in (stream.spec, quarantine_of(request.stream), quarantine_outcomes_of(request.stream)):
        delta_io.ensure(spark, spec, settings)
    schemas = WriterSchemas()
    if request.kind == "replay" and stream.expand is None:
        # Before the stream's turn is taken: a registry that is down keeps this request waiting, and no batch.
        learn(stream.originals(_meant(spark, settings, request).where(IS_OPEN)), schemas, registry)
    with stream.turn:
        if told := _told_before(spark, settings, request):
            return answer(told)
        return _Execution(spark, settings, stream, schemas, request, held).decide()


@dataclass(frozen=True)
class _Execution:
    """One request, executed for the first time or after a driver that died."""

    spark: SparkSession
    settings: Settings
    stream: BronzeStream
    schemas: WriterSchemas
    request: Request
    held: Held

    def decide(self) -> Answer:
        """Decide on each open row that is meant, and commit what was decided."""
        meant = _meant(self.spark, self.settings, self.request).where(~self._unsettled())
        before = {row["status"]: row["count"] for row in meant.groupBy("status").count().collect()}
        # In Bronze, and no outcome says so: a driver died between the two.
        forgotten = meant.where("in_bronze_since is not null and replayed_at is null").select("quarantine_id").collect()
        chosen = meant.where(IS_OPEN).orderBy("_ingested_at", "quarantine_id").limit(MOST_ROWS)
        chosen = chosen.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            decided = self._discard(chosen) if self.request.kind == "discard" else self._replay(chosen)
        finally:
            chosen.unpersist()
        decisions = [*(Decision(row["quarantine_id"], REPLAYED) for row in forgotten), *decided]
        if decisions and not self.request.is_dry_run:
            record(self.spark, self.settings, self.request, decisions, self.held)
            reach("after_outcomes_commit")
        log.info("rejected_rows_decided", request=self.request.request_id, rows=len(decisions))
        earlier = Counter({f"already_{status}": rows for status, rows in before.items() if status != OPEN})
        earlier -= Counter({f"already_{REPLAYED}": len(forgotten)})
        return answer(decisions, earlier, left=before.get(OPEN, 0) - len(decided))

    def _discard(self, chosen: DataFrame) -> list[Decision]:
        ids = chosen.select("quarantine_id").collect()
        return [Decision(row["quarantine_id"], DISCARDED, why=self.request.why) for row in ids]

    def _replay(self, chosen: DataFrame) -> list[Decision]:
        elsewhere = self._read_elsewhere(chosen)
        if elsewhere:
            # As rows: so many literals in a plan take Spark longer than the lines themselves.
            ids = [{"quarantine_id": one.quarantine_id} for one in elsewhere]
            theirs = few_rows.frame(self.spark, ids, columns("quarantine_id string"))
            chosen = chosen.join(theirs, on="quarantine_id", how="left_anti")
        started, now = time.monotonic(), datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
        at = F.lit(now).cast("timestamp")
        raw = stamped(self.stream.originals(chosen), at, F.col("_batch_id"), at)
        judged = self.stream.transform(raw, self.schemas).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            decisions = [*elsewhere, *_decisions(self.stream, chosen, judged)]
            entry = _entry(self.request, decisions, now, started)
            if entry.rows_written and not self.request.is_dry_run:
                self._commit(judged, entry)
                reach("after_replay_commit")
            return decisions
        finally:
            judged.unpersist()

    def _read_elsewhere(self, chosen: DataFrame) -> list[Decision]:
        """Of lines that only a cut-off try of their batch saw: when the batch was repeated, the object was gone.

        If it was put back since, its lines were judged again then; until that they wait for it.
        """
        if self.stream.expand is None:
            return []
        place = ("_topic", "_partition", "_offset")
        lines = chosen.where("origin_position > 0").select("quarantine_id", "origin", "origin_etag", *place).collect()
        outcomes = object_register.outcomes(self.settings, {row["origin"] for row in lines})
        found = []
        for row in lines:
            # A notification that names no object is in no register.
            known = outcomes.get((row["origin"], row["origin_etag"]), {})
            own = known.get(tuple(row[name] for name in place), "read")
            if own == "read":
                continue
            is_back = "read" in known.values()
            found.append(
                Decision(row["quarantine_id"], DISCARDED, why="filtered as read_again")
                if is_back
                else Decision(row["quarantine_id"], STILL_BAD, [own])
            )
        return found

    def _commit(self, judged: DataFrame, entry: Entry) -> None:
        """The good rows and the entry in one commit, which moves no position. Raises `BatchDoesNotBalance`."""
        append = Append(self.spark, self.stream.spec, self.settings)
        try:
            written = append.write(judged.where(is_good()).select(*self.stream.spec.columns).coalesce(1))
            if written != entry.rows_written or not entry.balances:
                raise BatchDoesNotBalance(entry.stream, -1, entry.rows_written, written, entry.to_json())
            reach("before_replay_commit")
            self.held.require()
        except BaseException:
            append.discard()
            raise
        append.commit({}, entry.to_json())

    def _unsettled(self) -> Column:
        """Whether a row is of a batch that was cut off before its Bronze commit: the stream takes that up first."""
        bronze = bronze_positions.places(Append(self.spark, self.stream.spec, self.settings).positions())
        rejected = quarantine_of(self.request.stream)
        held = bronze_positions.places(Append(self.spark, rejected, self.settings).positions())
        ahead = {place: offset for place, offset in held.items() if offset > bronze.get(place, 0)}
        return is_before(ahead) & ~is_before({place: bronze.get(place, 0) for place in ahead})


def _meant(spark: SparkSession, settings: Settings, request: Request) -> DataFrame:
    return quarantine_standing.read(spark, settings, request.stream).where(request.selection.column())


def _decisions(stream: BronzeStream, chosen: DataFrame, judged: DataFrame) -> list[Decision]:
    """One for each chosen row, in no order. Raises `BatchDoesNotBalance` when `transform` lost or doubled one."""
    place, etag, spot = stream.origin
    is_line = stream.expand is not None
    found = judged.select(
        F.col(place).alias("origin"),
        # A notification that names no object has none.
        (F.coalesce(F.col(etag), F.lit("")) if is_line else F.lit("")).alias("etag"),
        F.col(spot).alias("origin_position"),
        "_partition",
        "_offset",
        F.col("_kafka_at").alias("arrived_at"),
        "_reasons",
        "_filtered_as",
    )
    named = chosen.withColumn("etag", F.coalesce("origin_etag", F.lit("")))
    same_place = ["origin", "etag", "origin_position", "_partition", "_offset", "arrived_at"]
    rows = named.join(found, on=same_place, how="inner").select("quarantine_id", "_reasons", "_filtered_as").collect()
    decisions = {row["quarantine_id"]: _decision(row) for row in rows}
    expected = chosen.count()
    if not len(decisions) == len(rows) == expected:
        raise BatchDoesNotBalance(stream.spec.table, -1, expected, len(rows), "rejected rows sent through again")
    return list(decisions.values())


def _decision(row: Row) -> Decision:
    if row["_reasons"] is not None:
        return Decision(row["quarantine_id"], STILL_BAD, list(row["_reasons"]))
    if row["_filtered_as"] is not None:
        return Decision(row["quarantine_id"], DISCARDED, why=f"filtered as {row['_filtered_as']}")
    return Decision(row["quarantine_id"], REPLAYED)


def _entry(request: Request, decisions: Sequence[Decision], ingested_at: str, started: float) -> Entry:
    outcomes = Counter(one.outcome for one in decisions)
    return Entry(
        stream=request.stream,
        query_id=request.request_id,
        batch_id=-1,
        ranges=(),
        rows_promised=len(decisions),
        rows_read=len(decisions),
        rows_written=outcomes[REPLAYED],
        quarantined=dict(Counter("+".join(one.reasons) for one in decisions if one.reasons)),
        filtered=dict(Counter(one.why.removeprefix("filtered as ") for one in decisions if one.outcome == DISCARDED)),
        code_version=lakehouse.__version__,
        kind="replay",
        reason=f"asked for by {request.requested_by}",
        ingested_at=ingested_at,
        duration_ms=round((time.monotonic() - started) * 1000),
    )


def _told_before(spark: SparkSession, settings: Settings, request: Request) -> list[Decision]:
    outcomes = delta_io.read(spark, quarantine_outcomes_of(request.stream), settings)
    rows = outcomes.where(F.col("request_id") == request.request_id).collect()
    return [Decision(row["quarantine_id"], row["outcome"], row["reasons"], row["why"]) for row in rows]
