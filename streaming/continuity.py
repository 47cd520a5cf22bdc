"""Does a batch continue where Bronze ended, and does the log still hold what Bronze needs next?

Bronze keeps the next offset of each partition as a position in its table state, moved by the commit that adds the rows.
So the truth about progress is where the rows are. The checkpoint is a plan that must agree with it: one that was lost,
restored from a backup, or belongs to another topic is seen before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lakehouse.errors import LakehouseError
from lakehouse.kafka_offsets import TopicLog
from lakehouse.ledger_entry import OffsetRange
from lakehouse.positions import CLOSED, Place, Positions, closed_places, places


def positions(applications: Mapping[str, int], logs: Mapping[str, TopicLog]) -> Positions:
    """Where Bronze goes on in each partition. A topic that was closed and is read again goes on where it was closed."""
    back = {
        place: offset
        for place, offset in closed_places(applications).items()
        if place.topic in logs and logs[place.topic].topic_id == place.topic_id
    }
    return back | places(applications)


def first_positions(first: Mapping[tuple[str, int], int], logs: Mapping[str, TopicLog]) -> Positions:
    """What a stream that did no batch yet needs next, by the offsets (topic, partition) that its checkpoint begins at.

    These are without the topic's id: a topic whose log ends before them, or lacks a partition, was made again.
    """
    same = {
        topic: log.topic_id
        for topic, log in logs.items()
        if all(offset <= log.ends.get(place[1], CLOSED) for place, offset in first.items() if place[0] == topic)
    }
    added = {
        # A partition that was added since begins at its first offset.
        Place(topic, same[topic], partition): 0
        for topic in {place[0] for place in first} & same.keys()
        for partition in logs[topic].begins
    }
    return added | {Place(topic, same.get(topic, ""), one): offset for (topic, one), offset in first.items()}


def begins(ranges: Sequence[OffsetRange], logs: Mapping[str, TopicLog]) -> Positions:
    """The positions before a batch."""
    return {Place(one.topic, logs[one.topic].topic_id, one.partition): one.from_offset for one in ranges}


def ends(ranges: Sequence[OffsetRange], logs: Mapping[str, TopicLog]) -> Positions:
    """The positions after a batch."""
    return {Place(one.topic, logs[one.topic].topic_id, one.partition): one.to_offset for one in ranges}


@dataclass(frozen=True)
class Gap:
    """Offsets that Bronze needs next and the broker does not hold any more."""

    place: Place
    position: int
    """Where Bronze ended."""
    goes_on_at: int
    """Where the log of today can be read on; `CLOSED` where there is none, or no such partition."""
    cause: str

    def __str__(self) -> str:
        place = f"{self.place.topic}/{self.place.partition}"
        rest = "" if self.goes_on_at == CLOSED else f" (it can be read on from {self.goes_on_at})"
        return f"{place}: Bronze ended at offset {self.position}, {self.cause}{rest}"


class SourceHasGap(LakehouseError):
    """The broker no longer holds what Bronze needs next. `found`: the gaps of each such stream, by its table."""

    def __init__(self, found: Mapping[str, Sequence[Gap]]) -> None:
        named = [f"{stream}: {'; '.join(map(str, gaps))}" for stream, gaps in found.items()]
        super().__init__(
            f"Records are missing in the source of {'; and in the source of '.join(named)}. Nothing was written. If "
            'they can\'t be brought back, `lakehouse stream ... --accept-gap "<reason>"` records the gap in the ledger '
            "and goes on (docs/runbooks/source-gap.md)."
        )


class CheckpointDoesNotContinue(LakehouseError):
    """The checkpoint's next batch does not begin where Bronze ended."""

    def __init__(self, stream: str, checkpoint: str, differences: Sequence[str]) -> None:
        super().__init__(
            f"The checkpoint of {stream} does not belong to what Bronze holds: {'; '.join(differences)}. Was it "
            f"restored from a backup, or copied? Nothing was written. Move {checkpoint} away: the stream then takes "
            "its positions from Bronze, and loses and doubles nothing."
        )


def gaps(positions: Positions, logs: Mapping[str, TopicLog]) -> list[Gap]:
    """What the logs lack of what Bronze needs next; empty when all is there."""
    found = []
    for place, position in sorted(positions.items()):
        log = logs.get(place.topic)
        if log is None:
            found.append(Gap(place, position, CLOSED, "and the stream does not read this topic any more"))
            continue
        begin, end = log.begins.get(place.partition, 0), log.ends.get(place.partition, 0)
        if log.topic_id != place.topic_id:
            goes_on_at = begin if place.partition in log.begins else CLOSED
            found.append(Gap(place, position, goes_on_at, "and the topic was deleted and made again since"))
        elif position < begin:
            found.append(Gap(place, position, begin, f"but the log begins at {begin}: retention removed the rest"))
        elif position > end:
            found.append(Gap(place, position, end, f"but the log ends at {end}"))
    for place in grown(positions, logs):
        if begin := logs[place.topic].begins[place.partition]:
            found.append(Gap(place, 0, begin, f"but the log of this new partition begins at {begin}"))
    return found


class PartitionsGrew(LakehouseError):
    """A topic whose keys must stay in their partitions has more partitions than Bronze began with."""

    def __init__(self, stream: str, grown: Sequence[Place]) -> None:
        named = ", ".join(f"{one.topic}/{one.partition}" for one in grown)
        super().__init__(
            f"The topic of {stream} has new partitions: {named}. The changes of one key are now in two of them, and no "
            "offset says which is the later. Nothing was written. Make the topic again with the number of partitions "
            "that you want, and let the source send its rows again (docs/runbooks/replication-slot.md)."
        )


def grown(positions: Positions, logs: Mapping[str, TopicLog]) -> list[Place]:
    """The partitions that Bronze does not know, of topics that it knows; none before the first batch."""
    known = {(place.topic, place.topic_id) for place in positions}
    present = [Place(topic, log.topic_id, one) for topic, log in logs.items() for one in sorted(log.begins)]
    return [place for place in present if (place.topic, place.topic_id) in known and place not in positions]


def require_all_there(stream: str, positions: Positions, logs: Mapping[str, TopicLog], keeps_partitions: bool) -> None:
    """Raise `SourceHasGap` where a log lacks what Bronze needs next, and `PartitionsGrew` where it may not have more
    partitions than Bronze began with.
    """
    if found := gaps(positions, logs):
        raise SourceHasGap({stream: found})
    if keeps_partitions and (more := grown(positions, logs)):
        raise PartitionsGrew(stream, more)


def differences(positions: Positions, ranges: Sequence[OffsetRange], logs: Mapping[str, TopicLog]) -> list[str]:
    """Where the ranges of a batch do not begin at the positions of Bronze; empty when they continue it."""
    found = []
    wanted = begins(ranges, logs)
    for place in sorted(positions.keys() | wanted.keys()):
        position, begin = positions.get(place), wanted.get(place)
        name = f"{place.topic}/{place.partition}"
        if begin is None:
            found.append(f"{name} is in Bronze up to offset {position} and not in the checkpoint")
        elif position is not None and position != begin:
            found.append(f"{name} is in Bronze up to offset {position} and the batch begins at {begin}")
    return found
