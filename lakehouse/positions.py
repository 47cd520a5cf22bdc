"""The next offset of each partition, as a Bronze table keeps it in its state, moved by the commit that adds rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PREFIX = "offset"
BEGUN_AGAIN = "begun-again"
"""Behind it a topic: how often its offsets have begun again at lower ones than Bronze had read."""
CLOSED = -1
"""Stands for the position of a topic that is not read any more, where nobody needs to know how far it was read."""


@dataclass(frozen=True, order=True)
class Place:
    """One partition of one topic; the topic's id tells it from a later topic of the same name."""

    topic: str
    topic_id: str
    partition: int

    @property
    def application(self) -> str:
        """Its name among the positions of a table."""
        return f"{PREFIX}/{self.topic}/{self.topic_id}/{self.partition}"


Positions = dict[Place, int]


def closed(offset: int) -> int:
    """What a table keeps of the position of a topic that is not read any more."""
    return CLOSED - 1 - offset


def places(applications: Mapping[str, int]) -> Positions:
    """The offsets among the positions of a table, without those of closed topics."""
    return {place: number for place, number in _places(applications) if number >= 0}


def closed_places(applications: Mapping[str, int]) -> Positions:
    """The offsets at which topics were closed."""
    return {place: CLOSED - 1 - number for place, number in _places(applications) if number < CLOSED}


def _places(applications: Mapping[str, int]) -> Iterator[tuple[Place, int]]:
    for application, number in applications.items():
        prefix, _, rest = application.partition("/")
        if prefix == PREFIX:
            # A topic's name has no slash; its id is base64 text and may have some.
            topic, _, place = rest.partition("/")
            topic_id, _, partition = place.rpartition("/")
            yield Place(topic, topic_id, int(partition)), number


def begun_again(applications: Mapping[str, int]) -> dict[str, int]:
    """`begun-again/<topic>` -> how often, among the positions of a Bronze table."""
    return {name: number for name, number in applications.items() if name.startswith(f"{BEGUN_AGAIN}/")}


def offsets(merged: Mapping[str, int]) -> dict[str, int]:
    """The offsets by `topic/partition` among what a merge of a Silver table remembers."""
    return {name: offset for name, offset in merged.items() if "/" in name and not name.startswith(f"{BEGUN_AGAIN}/")}


def still_merged(merged: Mapping[str, int], begun: Mapping[str, int]) -> dict[str, int]:
    """What a merge remembers, without the offsets of topics that have begun again since: theirs are given out a second
    time, so all rows of such a topic are taken again. `begun` (of `begun_again`) is remembered with it.
    """
    again = {name.partition("/")[2] for name, number in begun.items() if merged.get(name, 0) != number}
    return {name: number for name, number in merged.items() if name.rpartition("/")[0] not in again} | dict(begun)


def applications(positions: Positions) -> dict[str, int]:
    """The offsets by their names among the positions of a table: what `places` reads."""
    return {place.application: offset for place, offset in positions.items()}
