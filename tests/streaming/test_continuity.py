"""What the source lacks of what Bronze needs next, and where a topic that is read again goes on."""

from __future__ import annotations

import pytest

from lakehouse.kafka_offsets import TopicLog
from lakehouse.positions import CLOSED, Place, applications, closed
from streaming import continuity

EVENTS, OTHER = Place("events", "id/1", 0), Place("other", "id/2", 0)
LOGS = {"events": TopicLog("id/1", {0: 5}, {0: 30})}


def gaps(position: int, begin: int, end: int) -> list[str]:
    return [str(one) for one in continuity.gaps({EVENTS: position}, {"events": TopicLog("id/1", {0: begin}, {0: end})})]


def test_a_log_that_holds_the_position_has_no_gap() -> None:
    assert gaps(22, begin=0, end=30) == gaps(22, begin=22, end=22) == []


def test_a_log_that_ends_below_the_position_is_a_gap() -> None:
    assert gaps(22, begin=0, end=21) == [
        "events/0: Bronze ended at offset 22, but the log ends at 21 (it can be read on from 21)"
    ]


def test_a_log_that_begins_above_the_position_is_a_gap() -> None:
    (gap,) = gaps(22, begin=23, end=30)
    assert gap.startswith("events/0: Bronze ended at offset 22, but the log begins at 23: retention removed the rest")


def test_a_new_partition_that_lost_its_beginning_is_a_gap() -> None:
    grown = {"events": TopicLog("id/1", {0: 0, 1: 25}, {0: 30, 1: 40})}
    (gap,) = continuity.gaps({EVENTS: 22}, grown)
    assert str(gap).startswith("events/1: Bronze ended at offset 0, but the log of this new partition begins at 25")
    assert (gap.position, gap.goes_on_at) == (0, 25)
    assert continuity.gaps({EVENTS: 22}, {"events": TopicLog("id/1", {0: 0, 1: 0}, {0: 30, 1: 40})}) == []


def test_a_topic_that_is_read_again_goes_on_where_it_was_closed() -> None:
    for offset in (0, 22):
        held = {EVENTS.application: closed(offset), OTHER.application: 7}
        assert continuity.positions(held, LOGS) == {EVENTS: offset, OTHER: 7}


def test_a_closed_topic_that_is_not_read_or_was_made_again_has_no_position() -> None:
    again = Place("events", "id/0", 0)
    held = {again.application: closed(22), OTHER.application: closed(7), EVENTS.application: CLOSED}
    assert continuity.positions(held, LOGS) == {}


def test_before_the_first_batch_the_next_offsets_are_those_that_the_checkpoint_begins_at() -> None:
    grown = {"events": TopicLog("id/1", {0: 25, 1: 0}, {0: 30, 1: 40})}
    assert continuity.first_positions({("events", 0): 22}, grown) == {EVENTS: 22, Place("events", "id/1", 1): 0}
    assert continuity.first_positions({}, grown) == {}


@pytest.mark.parametrize("first", [{("events", 0): 31}, {("events", 0): 5, ("events", 1): 0}, {("before", 0): 0}])
def test_a_topic_that_can_not_be_the_one_of_the_checkpoint_is_another(first: dict[tuple[str, int], int]) -> None:
    found = continuity.first_positions(first, LOGS)
    assert found == {Place(topic, "", partition): offset for (topic, partition), offset in first.items()}


def test_the_gaps_of_two_streams_are_one_sentence() -> None:
    found = {table: continuity.gaps({EVENTS: position}, LOGS) for table, position in (("one", 3), ("two", 31))}
    assert str(continuity.SourceHasGap(found)).startswith(
        "Records are missing in the source of one: events/0: Bronze ended at offset 3, but the log begins at 5: "
        "retention removed the rest (it can be read on from 5); and in the source of two: events/0: Bronze ended at "
        "offset 31, but the log ends at 30 (it can be read on from 30). Nothing was written."
    )


def test_a_topic_that_is_read_has_its_own_position() -> None:
    assert continuity.positions(applications({EVENTS: 9}), LOGS) == {EVENTS: 9}
