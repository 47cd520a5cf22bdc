"""Where a stream begins: at its checkpoint; without one at the positions that Bronze holds; behind a gap that an
operator accepted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

import lakehouse
from lakehouse import delta_io
from lakehouse import positions as bronze_positions
from lakehouse.append import Append
from lakehouse.kafka_offsets import TopicLog, TopicLogs
from lakehouse.ledger_entry import Entry, OffsetRange
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec, quarantine_of
from streaming import checkpoint, continuity

if TYPE_CHECKING:
    from streaming.bronze_writer import BronzeStream

log = get_logger(__name__)
Offsets = dict[str, dict[int, int]]


def of(spark: SparkSession, settings: Settings, stream: BronzeStream, accepted_gap: str = "") -> Offsets | None:
    """The offsets at which a checkpoint without any begins; None for a first start.

    Raises `SourceHasGap` when the source lacks what Bronze needs next and nobody accepted that, and `PartitionsGrew`.
    """
    logs = TopicLogs(settings).describe(stream.topics)
    positions = _needed_next(spark, settings, stream.spec, logs)
    saved = checkpoint.location(stream.spec, settings)
    if found := continuity.gaps(positions, logs):
        if not accepted_gap:
            raise continuity.SourceHasGap({stream.spec.table: found})
        _keep(Append(spark, stream.spec, settings), positions, logs)
        # Before the gap is written down: a driver that dies between the two finds it again, and may pass over it again.
        if checkpoint.exists(spark, saved):
            kept = checkpoint.set_aside(spark, saved)
            log.warning("checkpoint_set_aside", stream=stream.spec.table, kept_as=kept)
        positions = _pass_over(spark, settings, stream.spec, found, positions, logs, accepted_gap)
    continuity.require_all_there(stream.spec.table, positions, logs, stream.keeps_partitions)
    if not positions:
        return None
    if not checkpoint.exists(spark, saved):
        log.warning("checkpoint_is_missing", stream=stream.spec.table, begins_at="the positions that Bronze holds")
    # Also with a checkpoint: a query that was ended right after its start has one without offsets. Spark passes over
    # these where it has its own.
    return _offsets(positions, logs)


def require_no_gaps(spark: SparkSession, settings: Settings, streams: Sequence[BronzeStream]) -> None:
    """Raise `SourceHasGap` with the gaps of all of these streams, before any is started: who accepts gaps accepts those
    of all, and must have seen them.
    """
    logs = TopicLogs(settings).describe([topic for stream in streams for topic in stream.topics])
    found: dict[str, list[continuity.Gap]] = {}
    for stream in streams:
        own = {topic: logs[topic] for topic in stream.topics}
        if gaps := continuity.gaps(_needed_next(spark, settings, stream.spec, own), own):
            found[stream.spec.table] = gaps
    if found:
        raise continuity.SourceHasGap(found)


def _needed_next(
    spark: SparkSession, settings: Settings, spec: TableSpec, logs: Mapping[str, TopicLog]
) -> bronze_positions.Positions:
    """The positions that Bronze holds; before its first batch those that its checkpoint begins at, which the log may
    have lost meanwhile; empty for a first start.
    """
    # A table that is not there yet has none.
    positions = continuity.positions(Append(spark, spec, settings).positions(), logs)
    saved = checkpoint.location(spec, settings)
    if positions or checkpoint.committed_positions(spark, saved):
        return positions
    return continuity.first_positions(checkpoint.first_positions(spark, saved), logs)


def _keep(append: Append, positions: bronze_positions.Positions, logs: Mapping[str, TopicLog]) -> None:
    """Before the checkpoint is set aside: what it alone knows becomes Bronze's own, for a driver that dies behind that,
    and for the partitions that have no gap.
    """
    if not continuity.positions(append.positions(), logs):
        append.commit(bronze_positions.applications(positions), json.dumps({"kind": "first_positions"}))


def behind_losses(spark: SparkSession, settings: Settings, spec: TableSpec, topic: str) -> Offsets | None:
    """For a query without a ledger: where it goes on when its checkpoint needs offsets that the log lost, or knows
    those of an earlier topic of the same name. Which topic it reads is kept in the state of the table of `spec`.

    None where the log still has what comes next. That Bronze may pass over the same gap was decided before.
    """
    now = TopicLogs(settings).describe([topic])[topic]
    saved, append = checkpoint.location(spec, settings), Append(spark, spec, settings)
    known = [place for place in bronze_positions.places(append.positions()) if place.topic == topic]
    is_another = any(place.topic_id != now.topic_id for place in known)
    # A checkpoint without a batch needs next what it begins at.
    kept = checkpoint.committed_positions(spark, saved) or checkpoint.first_positions(spark, saved)
    done = {} if is_another else kept
    goes_on = {
        partition: min(max(done.get((topic, partition), begin), begin), now.ends[partition])
        for partition, begin in now.begins.items()
    }
    is_in_order = not is_another and all(goes_on.get(place[1]) == position for place, position in done.items())
    # Not when there is none: a driver may have died between this and what follows.
    if not is_in_order and checkpoint.exists(spark, saved):
        log.warning("checkpoint_set_aside", checkpoint=saved, kept_as=checkpoint.set_aside(spark, saved), topic=topic)
    _remember_topic(append, known, bronze_positions.Place(topic, now.topic_id, 0))
    return None if is_in_order else {topic: goes_on}


def _remember_topic(append: Append, known: list[bronze_positions.Place], now: bronze_positions.Place) -> None:
    if known == [now]:
        return
    moved = {place.application: bronze_positions.CLOSED for place in known} | {now.application: 0}
    append.commit(moved, json.dumps({"kind": "topic", "topic": now.topic, "topic_id": now.topic_id}))


def _offsets(positions: bronze_positions.Positions, logs: Mapping[str, TopicLog]) -> Offsets:
    """Every partition of today: at Bronze's position, or at its beginning when Bronze does not know it yet."""
    begins: Offsets = {topic: dict(one.begins) for topic, one in logs.items()}
    for place, position in positions.items():
        if place.topic in begins:
            begins[place.topic][place.partition] = position
    return begins


def _made_again(found: list[continuity.Gap], logs: Mapping[str, TopicLog]) -> bronze_positions.Positions:
    """The beginnings of topics that were made again, with the partitions that the old ones did not have."""
    return {
        bronze_positions.Place(topic, log.topic_id, partition): begin
        for topic, log in logs.items()
        if any(one.place.topic == topic and one.place.topic_id != log.topic_id for one in found)
        for partition, begin in log.begins.items()
    }


def _pass_over(
    spark: SparkSession,
    settings: Settings,
    spec: TableSpec,
    found: list[continuity.Gap],
    positions: bronze_positions.Positions,
    logs: Mapping[str, TopicLog],
    reason: str,
) -> bronze_positions.Positions:
    """Write the gap into Bronze's ledger and move the positions behind it; returns the new positions."""
    goes_on = {
        replace(gap.place, topic_id=logs[gap.place.topic].topic_id): gap.goes_on_at
        for gap in found
        if gap.goes_on_at != bronze_positions.CLOSED
    } | _made_again(found, logs)
    closed = {gap.place.application: bronze_positions.closed(gap.position) for gap in found}
    moved = closed | bronze_positions.applications(goes_on)
    entry = _entry(spec, found, logs, reason).to_json()
    quarantine = quarantine_of(spec.table)
    if delta_io.exists(spark, quarantine, settings):
        # Before Bronze: offsets that come a second time must not be taken for rows that it holds. Those that come once,
        # behind what retention removed, may be there already, from a batch that was cut off.
        append = Append(spark, quarantine, settings)
        held = append.positions()
        once = {gap.place.application for gap in found if gap.place in goes_on and gap.goes_on_at > gap.position}
        append.commit(
            {name: max(end, held.get(name, end)) if name in once else end for name, end in moved.items()}, entry
        )
    append = Append(spark, spec, settings)
    append.commit(moved | _begun_again(found, logs, append.positions()), entry)
    log.warning("gap_accepted", stream=spec.table, gaps=[str(one) for one in found], reason=reason)
    passed = {gap.place for gap in found}
    return {place: position for place, position in positions.items() if place not in passed} | goes_on


def _begun_again(found: list[continuity.Gap], logs: Mapping[str, TopicLog], held: Mapping[str, int]) -> dict[str, int]:
    """How often offsets have begun again, of the topics that do so here: whoever merges from Bronze knows rows by their
    offsets, which come a second time.
    """
    topics = {gap.place.topic for gap in found if gap.place.topic in logs and gap.goes_on_at < gap.position}
    names = [f"{bronze_positions.BEGUN_AGAIN}/{topic}" for topic in topics]
    return {name: held.get(name, 0) + 1 for name in names}


def _entry(spec: TableSpec, found: list[continuity.Gap], logs: Mapping[str, TopicLog], reason: str) -> Entry:
    return Entry(
        stream=spec.table,
        query_id="",
        batch_id=-1,
        ranges=tuple(
            # Of a topic that was made again nobody knows where the old one ended.
            OffsetRange(one.place.topic, one.place.partition, one.position, max(one.goes_on_at, one.position))
            for one in found
        ),
        rows_promised=0,
        rows_read=0,
        rows_written=0,
        code_version=lakehouse.__version__,
        kind="gap",
        reason=reason,
        topic_ids={topic: one.topic_id for topic, one in logs.items()},
    )
