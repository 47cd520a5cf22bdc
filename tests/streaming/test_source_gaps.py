"""Where the heartbeat's counter says that the source did not send everything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest

from streaming.source_gaps import SourceChangesMissing, find

BEGIN = datetime(2026, 11, 23, 9, 0, 0)
TABLE = """
create schema bronze;
create table bronze.heartbeats_changes (
    op text, "after" struct(id int, beat bigint, beat_at timestamp), lsn bigint, snapshot text, source_at timestamp,
    source_incarnation text, _kafka_at timestamp, _offset bigint)
"""
Sent = tuple[str, int] | tuple[str, int, dict[str, Any]]


def found(*sent: Sent) -> list[str]:
    """The gaps between beats that arrived in this order, each as (op, beat) and what is not as usual."""
    connection = duckdb.connect()
    connection.execute(TABLE)
    for place, (op, beat, *other) in enumerate(sent):
        at = BEGIN + timedelta(seconds=30 * place)
        row = {
            "op": op,
            "after": {"id": 1, "beat": beat, "beat_at": at},
            "lsn": 1000 * place,
            "snapshot": "last" if op == "r" else "false",
            "source_at": at,
            "source_incarnation": "7/1",
            "_kafka_at": at,
            "_offset": 2 * place,
        } | (other[0] if other else {})
        connection.execute("insert into bronze.heartbeats_changes values (?, ?, ?, ?, ?, ?, ?, ?)", list(row.values()))
    return [str(gap) for gap in find(connection)]


def test_a_snapshot_and_the_beats_behind_it_are_whole() -> None:
    assert found(("r", 0), ("u", 1), ("u", 2), ("u", 3)) == []


def test_bronze_may_begin_in_the_middle() -> None:
    assert found(("u", 41), ("u", 42)) == []


def test_missing_beats_are_named_with_the_times_around_them() -> None:
    assert found(("u", 1), ("u", 5)) == [
        "beats 2 to 4 are missing between 2026-11-23 09:00:00 (beat 1) and 2026-11-23 09:00:30 UTC (beat 5)"
    ]


def test_one_missing_beat_is_enough() -> None:
    assert found(("u", 1), ("u", 2), ("u", 4))[0].startswith("beat 3 is missing")


# The connector was off, so nobody beat: only the snapshot tells that its offsets and its slot are others.
def test_a_new_snapshot_is_a_gap_although_no_beat_is_missing() -> None:
    (gap,) = found(("r", 0), ("u", 1), ("r", 1), ("u", 2))
    assert gap.startswith("no beat is missing, and a new snapshot begins,")


def test_the_beat_that_a_new_snapshot_read_was_not_sent_as_a_change() -> None:
    (gap,) = found(("u", 1), ("r", 3), ("u", 4))
    assert gap.startswith("beats 2 to 3 are missing, and a new snapshot begins,")


def test_the_first_snapshot_may_be_interrupted() -> None:
    assert found(("r", 0), ("r", 2), ("u", 3)) == []


def test_an_incremental_snapshot_only_reads_again() -> None:
    assert found(("u", 1), ("r", 1, {"snapshot": "incremental"}), ("u", 2)) == []


def test_a_beat_that_was_sent_again_is_one() -> None:
    assert found(("u", 1), ("u", 2), ("u", 1, {"lsn": 0}), ("u", 2, {"lsn": 1000}), ("u", 3)) == []


def test_a_counter_that_went_back_is_a_gap() -> None:
    (gap,) = found(("u", 7), ("u", 5))
    assert gap.startswith("the counter went back between")


def test_the_same_beat_of_another_transaction_is_a_gap() -> None:
    (gap,) = found(("u", 7), ("u", 7))
    assert gap.startswith("the counter went back between")


def test_the_offsets_of_a_topic_that_was_made_again_change_nothing() -> None:
    assert found(("u", 1), ("u", 2), ("u", 3, {"_offset": 0}), ("u", 4, {"_offset": 1})) == []


OTHER = {"source_incarnation": "8/1"}


def test_a_failover_that_kept_the_slot_goes_on_counting() -> None:
    assert found(("u", 1), ("u", 2, {"source_incarnation": "7/2"}), ("u", 3, {"source_incarnation": "7/2"})) == []


def test_a_restored_database_begins_with_a_snapshot() -> None:
    assert found(("u", 90), ("r", 60, OTHER), ("u", 61, OTHER)) == []
    assert len(found(("u", 90), ("u", 61, OTHER))) == 1


@pytest.mark.parametrize(("count", "named"), [(2, 2), (9, 5)])
def test_the_message_names_the_first_gaps_and_counts_the_rest(count: int, named: int) -> None:
    gaps: Sequence[Sent] = [("u", 10 * place) for place in range(count + 1)]
    connection_gaps = found(*gaps)
    assert len(connection_gaps) == count
    text = str(SourceChangesMissing(_gaps(gaps)))
    assert text.count("are missing between") == named
    assert ("and 4 more" in text) == (count == 9)


def _gaps(sent: Sequence[Sent]) -> list[Any]:
    connection = duckdb.connect()
    connection.execute(TABLE)
    rows = [
        (op, {"id": 1, "beat": beat, "beat_at": BEGIN}, beat, "false", BEGIN, "7/1", BEGIN, beat)
        for op, beat, *_ in sent
    ]
    connection.executemany("insert into bronze.heartbeats_changes values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return find(connection)
