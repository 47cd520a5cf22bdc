"""What was passed over and written down is no difference for `lakehouse ledger verify`; anything more is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from lakehouse.kafka_offsets import TopicLog, TopicMissing
from lakehouse.ledger_entry import Entry, OffsetRange
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS, ORDERS, SOURCE_MARKERS
from streaming import ledger_verify
from streaming.finding import Finding
from streaming.ledger_verify import verify

STREAM, CHANGES = INVENTORY_EVENTS.table, ORDERS.changes.table
TOPIC = "events"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)


def entry(kind: Any, begin: int, end: int, topic: str = TOPIC, **values: Any) -> Entry:
    rows = end - begin if kind == "batch" else 0
    ids = {topic: f"id of {topic}"}
    ranges = (OffsetRange(topic, 0, begin, end),)
    told: dict[str, Any] = {"stream": STREAM, "rows_written": rows} | values
    return Entry(
        query_id="q", batch_id=0, ranges=ranges, rows_promised=rows, rows_read=rows, kind=kind, topic_ids=ids, **told
    )


def left(at: int) -> Entry:
    """The settings name another topic now."""
    return replace(entry("gap", at, at), topic_ids={"another": "its id"})


def lake(
    settings: Settings,
    table: str,
    entries: Iterable[Entry],
    transactions: Sequence[str | None] = (),
    first: int = 0,
) -> None:
    """A Bronze table that holds the rows of its entries; `transactions`: of each row, `first`: number of the first."""
    waiting = list(transactions)
    for number, one in enumerate(entries, first):
        at = START + timedelta(seconds=number)
        stamp = at.replace(tzinfo=None).isoformat(sep=" ")
        count = one.rows_written
        named, waiting = waiting[:count] or [None] * count, waiting[count:]
        rows = pa.table(
            {
                "_ingested_at": pa.array([at] * count, pa.timestamp("us", "UTC")),
                "transaction_id": pa.array(named, pa.string()),
                "snapshot": pa.array(["false"] * count, pa.string()),
                "_kafka_at": pa.array([at] * count, pa.timestamp("us", "UTC")),
            }
        )
        stamped = Entry(**vars(one) | {"ingested_at": stamp})
        told = CommitProperties(custom_metadata={"userMetadata": stamped.to_json()})
        write_deltalake(f"{settings.warehouse}/bronze/{table}", rows, mode="append", commit_properties=told)


def found(settings: Settings, name: str, with_broker: bool = False) -> Finding:
    return next(one for one in verify(settings, with_broker) if one.name.endswith(name))


BEFORE = [entry("batch", 0, 100), entry("batch", 100, 200)]


@pytest.mark.parametrize("stray", [0, 7])
def test_of_what_comes_meanwhile_only_rows_of_no_batch_are_a_difference(stray: int, settings: Settings) -> None:
    lake(settings, STREAM, BEFORE)
    findings = verify(settings, with_broker=False)
    next(findings)
    lake(settings, STREAM, [entry("batch", 200, 300)], first=2)
    stamps = pa.array([START + timedelta(hours=1)] * stray, pa.timestamp("us", "UTC"))
    table = f"{settings.warehouse}/bronze/{STREAM}"
    write_deltalake(table, pa.table({"_ingested_at": stamps}), mode="append", schema_mode="merge")
    rows = next(one for one in findings if one.name == f"{STREAM}: rows written and rows in Bronze")
    assert (rows.expected, rows.found - rows.expected) == (200, stray)


@pytest.mark.parametrize(
    ("after", "unnamed"),
    [
        ([entry("batch", 200, 300)], 0),
        ([entry("batch", 260, 300)], 60),
        ([entry("batch", 150, 300)], 50),
        ([entry("gap", 200, 260), entry("batch", 260, 300)], 0),
        ([entry("gap", 200, 260), entry("batch", 270, 300)], 10),
        # The log lost its end: it goes on at 150, and the offsets above come a second time.
        ([entry("gap", 200, 200), entry("batch", 150, 250), entry("batch", 250, 300)], 0),
        ([entry("gap", 200, 200), entry("batch", 150, 250), entry("batch", 200, 300)], 50),
        ([entry("gap", 200, 200), entry("batch", 210, 300)], 10),
        # The settings left the topic twice, and came back each time.
        ([left(200), entry("batch", 200, 300), left(300), entry("batch", 300, 310)], 0),
        ([left(200), entry("batch", 200, 300), left(300), entry("batch", 310, 320)], 10),
    ],
)
def test_offsets_are_covered_once_but_for_gaps_that_were_accepted(
    after: list[Entry], unnamed: int, settings: Settings
) -> None:
    lake(settings, STREAM, [*BEFORE, *after])
    assert found(settings, "offsets between batches that no entry names").found == unnamed


class Broker:
    """Knows one topic, of which it holds the offsets 50 to 250; counts what it holds."""

    def __init__(self, _: Settings) -> None:
        self.held = TopicLog(f"id of {TOPIC}", {0: 50}, {0: 250})

    def describe(self, topics: Sequence[str]) -> dict[str, TopicLog]:
        if gone := [topic for topic in topics if topic != TOPIC]:
            raise TopicMissing(gone, "broker")
        return {TOPIC: self.held}


@pytest.mark.parametrize(
    ("entries", "asked"),
    [
        (BEFORE, 1),
        ([entry("batch", 0, 100, "given up"), entry("batch", 100, 200)], 1),
        # The log lost its end: 150 to 200 are other records now.
        ([*BEFORE, entry("gap", 200, 200), entry("batch", 150, 250)], 1),
        # It lost its end, and nobody has seen that yet.
        ([*BEFORE, entry("batch", 200, 260)], 1),
    ],
)
def test_the_broker_is_asked_for_what_it_still_holds(
    entries: list[Entry], asked: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(_: Settings, ranges: Iterable[OffsetRange]) -> dict[OffsetRange, int]:
        return {one: one.size for one in ranges}

    monkeypatch.setattr(ledger_verify, "TopicLogs", Broker)
    monkeypatch.setattr(ledger_verify, "committed_records", count)
    lake(settings, STREAM, entries)
    again = found(settings, "batches counted again at the broker", with_broker=True)
    assert (again.expected, again.found) == (asked, asked)


def announced(settings: Settings, at: datetime = START - timedelta(hours=1), **events: int) -> None:
    """END markers: how many events of orders each transaction had, and when Kafka got them."""
    rows = [
        {
            "kind": "END",
            "transaction_id": f"{name}:900",
            "_kafka_at": at,
            "data_collections": [{"data_collection": "public.orders", "event_count": count}],
        }
        for name, count in events.items()
    ]
    write_deltalake(f"{settings.warehouse}/{SOURCE_MARKERS.name.replace('.', '/')}", pa.Table.from_pylist(rows))


def transactions(settings: Settings, entries: Iterable[Entry], **held: int) -> Finding:
    """Each row of a transaction carries its id and a position of its own."""
    rows = [f"{name}:{position}" for name, count in held.items() for position in range(count)]
    lake(settings, CHANGES, entries, rows)
    return found(settings, f"{CHANGES}: transactions with all announced events")


def change(kind: Any, begin: int, end: int, topic: str = TOPIC, **values: Any) -> Entry:
    return entry(kind, begin, end, topic, stream=CHANGES, **values)


def test_events_that_debezium_announced_are_all_there(settings: Settings) -> None:
    announced(settings, a=3, b=2)
    one = transactions(settings, [change("batch", 0, 5)], a=3, b=2)
    assert (one.expected, one.found, one.note) == (2, 2, "")


def test_an_event_that_did_not_arrive_is_found(settings: Settings) -> None:
    announced(settings, a=3, b=2, c=1)
    one = transactions(settings, [change("batch", 0, 4)], a=3, b=1)
    assert (one.expected, one.found) == (3, 1)


@pytest.mark.parametrize(("before", "expected"), [(0, 0), (59, 0), (61, 2)])
def test_what_ended_later_than_what_was_read_is_not_looked_at(before: int, expected: int, settings: Settings) -> None:
    announced(settings, START - timedelta(seconds=before), a=3, b=2)
    one = transactions(settings, [change("batch", 0, 4)], a=3, b=1)
    assert (one.expected, one.found) == (expected, expected - bool(expected))
    assert one.note == ("" if expected else "2 that ended later were not looked at")


def test_of_a_topic_that_was_read_to_its_end_all_transactions_are_looked_at(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = ORDERS.topic(settings)
    log = TopicLog(f"id of {topic}", {0: 0}, {0: 4})
    monkeypatch.setattr(ledger_verify, "_logs", lambda _, topics: {topic: log} if topic in topics else {})
    announced(settings, START, a=3, b=2)
    lake(settings, CHANGES, [change("batch", 0, 4, topic)], ["a:0", "a:1", "a:2", "b:0"])
    one = next(one for one in ledger_verify._transactions(settings, with_broker=True) if CHANGES in one.name)
    assert (one.expected, one.found) == (2, 1)


@pytest.mark.parametrize(
    ("entries", "complete"),
    [
        # Two transactions are short: by a gap of two events, of one, and of nobody knows how many.
        ([change("batch", 0, 4), change("gap", 4, 6)], 3),
        ([change("batch", 0, 4), change("gap", 4, 5)], 2),
        ([change("batch", 0, 4), change("gap", 4, 4)], 3),
        ([change("batch", 0, 5, rows_written=4, quarantined={"bad": 1})], 2),
    ],
)
def test_events_that_were_passed_over_or_rejected_are_no_difference(
    entries: list[Entry], complete: int, settings: Settings
) -> None:
    announced(settings, a=3, b=2, c=1)
    one = transactions(settings, entries, a=3, b=1)
    assert (one.expected, one.found) == (3, complete)
    assert one.note == ("2 lack rows that were rejected, or passed over in a gap" if complete == 3 else "")
