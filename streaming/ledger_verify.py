"""`lakehouse ledger verify`: count everything again, by other means than those that wrote it.

Bronze and the quarantine are counted by another engine (DuckDB on the Delta log), the topics by another client than
Spark's, the lines of click objects in the bucket by this process, and the changes against the counts that Debezium
announced for each transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from lakehouse import direct_read
from lakehouse.errors import LakehouseError
from lakehouse.kafka_offsets import TopicLog, TopicLogs, TopicMissing, committed_records
from lakehouse.ledger_entry import Entry, OffsetRange, moment
from lakehouse.positions import Place
from lakehouse.settings import Settings
from lakehouse.tables import CAPTURED, CLICK_EVENTS, SOURCE_MARKERS, STREAMS
from streaming import object_recount, quarantine_standing
from streaming.finding import Finding

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STREAMS_APART = 60_000_000
"""Microseconds by which partitions of one topic, as they are read, may be apart."""


class LedgerDiffers(LakehouseError):
    """What was counted again is not what the ledger says."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"{len(names)} of the counts differ: {'; '.join(names)}. Let no night run on this Bronze, and follow "
            "docs/runbooks/ledger-differs.md."
        )


def verify(settings: Settings, with_broker: bool = True, objects: int | None = None) -> Iterator[Finding]:
    """All comparisons, stream by stream.

    The broker is asked for what it still holds of each batch's offsets, the bucket for up to `objects` of the click
    objects that were read (None: all).
    """
    for stream in STREAMS:
        entries = list(direct_read.ledger_entries(settings, stream))
        if not entries:
            continue
        batches = [one for one in entries if one.kind == "batch"]
        yield Finding(f"{stream}: batches that balance", len(batches), sum(one.balances for one in batches))
        yield Finding(f"{stream}: offsets between batches that no entry names", 0, _unnamed_offsets(entries))
        yield from _bronze(settings, stream, entries)
        yield from _quarantine(settings, stream, entries)
        if with_broker and stream != CLICK_EVENTS.table:
            yield _broker(settings, stream, batches)
        if stream == CLICK_EVENTS.table:
            yield from object_recount.findings(settings, batches, objects)
    yield from _transactions(settings, with_broker)


def _unnamed_offsets(entries: list[Entry]) -> int:
    """Offsets below the newest position that no batch and no accepted gap covers, or that two batches cover."""
    unnamed, positions, may_go_back = 0, dict[Place, int](), set[Place]()
    for entry in entries:
        for place, one in _places(entry):
            if entry.kind == "gap" and not place.topic_id:
                # A topic that is not read any more: Bronze keeps where it was left.
                continue
            step = one.from_offset - positions.get(place, one.from_offset)
            unnamed += max(0, step) if place in may_go_back else abs(step)
            positions[place] = one.to_offset
            # A gap without offsets: the log lost its end, and gives offsets out again.
            may_go_back = may_go_back | {place} if entry.kind == "gap" and not one.size else may_go_back - {place}
    return unnamed


def _places(entry: Entry) -> Iterator[tuple[Place, OffsetRange]]:
    for one in entry.ranges:
        yield Place(one.topic, entry.topic_ids.get(one.topic, ""), one.partition), one


def _bronze(settings: Settings, stream: str, entries: list[Entry]) -> Iterator[Finding]:
    connection = direct_read.connect(settings, f"bronze.{stream}")
    sql = f"""select epoch_us(_ingested_at), count(*) from "bronze"."{stream}" group by 1"""  # noqa: S608 - ours
    held: dict[int, int] = dict(direct_read.rows(connection, sql))
    if held.keys() - _stamps(entries):
        # Batches that a running stream has committed since the entries were read.
        newer = _stamps(direct_read.ledger_entries(settings, stream)) - _stamps(entries)
        held = {stamp: rows for stamp, rows in held.items() if stamp not in newer}
    written = sum(one.rows_written for one in entries)
    wrong = [
        f"batch {one.batch_id}: {one.rows_written} written, {held.get(_microseconds(one), 0)} there"
        for one in entries
        # What was projected by a version that did not keep the stamp counts in the sum alone.
        if one.ingested_at and one.rows_written != held.get(_microseconds(one), 0)
    ]
    yield Finding(f"{stream}: rows written and rows in Bronze", written, sum(held.values()))
    yield Finding(f"{stream}: batches whose rows in Bronze differ", 0, len(wrong), "; ".join(wrong[:3]))


def _stamps(entries: Iterable[Entry]) -> set[int]:
    return {_microseconds(one) for one in entries if one.ingested_at}


def _microseconds(entry: Entry) -> int:
    """The stamp of a batch as microseconds since 1970."""
    return (moment(entry.ingested_at) - EPOCH) // timedelta(microseconds=1)


def _quarantine(settings: Settings, stream: str, entries: list[Entry]) -> Iterator[Finding]:
    """Rows that batches rejected against the rows there, and against what became of each since."""
    rejected = sum(one.rows_quarantined for one in entries if one.kind == "batch")
    replayed = sum(one.rows_written for one in entries if one.kind == "replay")
    there, stands, marked = 0, Counter[str](), 0
    # A running stream has rejected rows of a batch that has no entry yet: they come before it.
    newest_batch = max(_stamps(one for one in entries if one.kind == "batch"), default=0)
    newest = max(_stamps(entries), default=0)
    if connection := quarantine_standing.connect(settings, stream):
        of_bronze = f"from standing where stage = 'bronze' and epoch_us(_ingested_at) <= {newest_batch}"
        there = int(direct_read.rows(connection, f"select count(distinct quarantine_id) {of_bronze}")[0][0])
        status = f"case when epoch_us(in_bronze_since) > {newest} then 'open' else status end"
        stands = Counter(dict(direct_read.rows(connection, f"select {status}, count(*) {of_bronze} group by 1")))
        # Counted in Bronze itself, whether or not a rejected row belongs to each.
        of_now = f"from came_back where epoch_us(_replayed_at) <= {newest}"
        marked = int(direct_read.rows(connection, f"select count(*) {of_now}")[0][0])
    yield Finding(f"{stream}: rows rejected and rows in the quarantine", rejected, there)
    note = ", ".join(f"{rows} {status}" for status, rows in sorted(stands.items()))
    yield Finding(f"{stream}: rows rejected and rows open, replayed or discarded", rejected, stands.total(), note)
    yield Finding(f"{stream}: rows replayed by the ledger and rows in Bronze that came back", replayed, marked)
    yield Finding(f"{stream}: rows that came back and rejected rows that are replayed", marked, stands["replayed"])


def _broker(settings: Settings, stream: str, batches: list[Entry]) -> Finding:
    logs = _logs(settings, {one.topic for entry in batches for one in entry.ranges})
    asked = [entry for entry in _not_overwritten(batches) if _is_retained(entry, logs)]
    counts = committed_records(settings, [one for entry in asked for one in entry.ranges])
    wrong = [
        entry.batch_id
        for entry in asked
        if sum(counts[one] for one in entry.ranges) != entry.rows_read - entry.vanished
    ]
    note = f"of {len(batches)} batches; the broker holds no more of the others" if len(asked) < len(batches) else ""
    if wrong:
        note = f"differ: {', '.join(map(str, wrong[:5]))}"
    return Finding(f"{stream}: batches counted again at the broker", len(asked), len(asked) - len(wrong), note)


def _logs(settings: Settings, topics: set[str]) -> dict[str, TopicLog]:
    """The topics that there are: one that was given up for another may be gone."""
    logs: dict[str, TopicLog] = {}
    for topic in sorted(topics):
        with suppress(TopicMissing):
            logs |= TopicLogs(settings).describe([topic])
    return logs


def _not_overwritten(batches: list[Entry]) -> Iterator[Entry]:
    """The batches whose offsets no later one read again: a log that lost its end holds other records there."""
    lowest: dict[Place, int] = {}
    for entry in reversed(batches):
        places = list(_places(entry))
        if all(one.to_offset <= lowest.get(place, one.to_offset) for place, one in places):
            yield entry
        for place, one in places:
            lowest[place] = min(one.from_offset, lowest.get(place, one.from_offset))


def _is_retained(entry: Entry, logs: dict[str, TopicLog]) -> bool:
    return all(
        one.topic in logs
        and entry.topic_ids.get(one.topic) == logs[one.topic].topic_id
        and one.from_offset >= logs[one.topic].begins.get(one.partition, 0)
        and one.to_offset <= logs[one.topic].ends.get(one.partition, 0)
        for one in entry.ranges
    )


def _transactions(settings: Settings, with_broker: bool) -> Iterator[Finding]:
    """Events per transaction and table as Debezium announced them, against the rows of Bronze."""
    if direct_read.open_table(settings, SOURCE_MARKERS.name) is None:
        return
    # In this order: the events of each marker stand in the topics before their ends of now, and the rows of each entry
    # are in the tables as they are opened behind it.
    announced = _announced(settings)
    logs = _logs(settings, {captured.topic(settings) for captured in CAPTURED}) if with_broker else {}
    for captured in CAPTURED:
        table, topic = captured.changes, captured.topic(settings)
        entries = list(direct_read.ledger_entries(settings, table.table))
        if direct_read.open_table(settings, table.name) is None:
            continue
        sql = f"""select split_part(transaction_id, ':', 1), count(*), max(epoch_us(_kafka_at))
            from "bronze"."{table.table}" where coalesce(snapshot, 'false') = 'false' group by 1"""  # noqa: S608 - ours
        rows = direct_read.rows(direct_read.connect(settings, table.name), sql)
        held = {transaction: events for transaction, events, _ in rows}
        read_through = float("inf")
        if not _is_read_to_its_end(entries, topic, logs.get(topic)):
            # The stream of the markers is ahead: what ended later than nearly all that was read may be on its way.
            read_through = max((at or 0 for _, _, at in rows), default=0) - STREAMS_APART
        told = announced.get(captured.name, {})
        expected = {transaction: events for transaction, (events, at) in told.items() if at <= read_through}
        short = sum(held.get(transaction, 0) != events for transaction, events in expected.items())
        # Which transaction a row belonged to that did not land can't be known: each may leave one short.
        lost = max(0, short - _not_landed(entries))
        notes = [
            f"{short} lack rows that were rejected, or passed over in a gap" if short and not lost else "",
            f"{len(told) - len(expected)} that ended later were not looked at" if len(told) > len(expected) else "",
        ]
        name = f"{table.table}: transactions with all announced events"
        yield Finding(name, len(expected), len(expected) - int(lost), "; ".join(filter(None, notes)))


def _announced(settings: Settings) -> dict[str, dict[str, tuple[int, int]]]:
    """Table -> transaction -> its events there, and when its end was announced (microseconds since 1970)."""
    sql = """select split_part(transaction_id, ':', 1), one.data_collection, one.event_count, epoch_us(_kafka_at)
        from (select transaction_id, _kafka_at, unnest(data_collections) as one
              from "bronze"."source_markers" where kind = 'END')"""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for transaction, collection, events, at in direct_read.rows(
        direct_read.connect(settings, SOURCE_MARKERS.name), sql
    ):
        of_table = found.setdefault(collection.rpartition(".")[2], {})
        of_table[transaction] = (events + of_table.get(transaction, (0, 0))[0], at or 0)
    return found


def _is_read_to_its_end(entries: list[Entry], topic: str, log: TopicLog | None) -> bool:
    """Whether the entries cover the topic up to its end; None: nobody was asked for it."""
    positions = {place: one.to_offset for entry in entries for place, one in _places(entry)}
    return log is not None and all(
        end <= positions.get(Place(topic, log.topic_id, partition), 0) for partition, end in log.ends.items()
    )


def _not_landed(entries: list[Entry]) -> float:
    """At most how many announced events are not in Bronze for a reason that the ledger names."""
    # A topic that is not read any more has no id there, and lost nothing.
    gaps = [one for entry in entries if entry.kind == "gap" for one in entry.ranges if one.topic in entry.topic_ids]
    if any(not one.size for one in gaps):
        # Of a topic that was made again nobody knows how many records it held.
        return float("inf")
    rejected = sum(one.rows_quarantined for one in entries if one.kind == "batch")
    replayed = sum(one.rows_written for one in entries if one.kind == "replay")
    return rejected - replayed + sum(one.size for one in gaps)
