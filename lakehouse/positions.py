"""The next offset of each partition, as a Bronze table keeps it in its state, moved by the commit that adds rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "offset"
CLOSED = -1
"""The position of a topic that does not exist any more."""


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


def places(applications: Mapping[str, int]) -> Positions:
    """The offsets among the positions of a table, without those of closed topics."""
    found = {}
    for application, number in applications.items():
        prefix, _, rest = application.partition("/")
        if prefix == PREFIX and number != CLOSED:
            # A topic's name has no slash; its id is base64 text and may have some.
            topic, _, place = rest.partition("/")
            topic_id, _, partition = place.rpartition("/")
            found[Place(topic, topic_id, int(partition))] = number
    return found


def applications(positions: Positions) -> dict[str, int]:
    """The offsets by their names among the positions of a table: what `places` reads."""
    return {place.application: offset for place, offset in positions.items()}
