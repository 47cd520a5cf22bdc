"""A ledger entry: what became of one micro-batch. Plain Python, so that commands can read it without Spark."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal

ENTRY = "lakehouse_ledger"


def moment(text: str) -> datetime:
    """A time of an entry, with its zone. One without, as earlier versions wrote it, is in UTC."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True)
class OffsetRange:
    """Offsets `from_offset` (included) to `to_offset` (not included) of one partition."""

    topic: str
    partition: int
    from_offset: int
    to_offset: int

    @property
    def size(self) -> int:
        """How many offsets the range spans."""
        return self.to_offset - self.from_offset

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition} {self.from_offset}-{self.to_offset}"


@dataclass(frozen=True)
class Entry:
    """What became of one micro-batch. `rows_read = rows_written + rows_quarantined + sum(filtered)`, always.

    A `gap` is no batch: an operator passed over the offsets in `ranges`, for `reason`. A `replay` read rows that had
    been rejected, and put those that are good by now into Bronze (`quarantined`: those that are still bad, and stay
    where they are); it has no ranges, and `query_id` is that of the request. Both keep their rows apart from those of
    the batches.
    """

    stream: str
    query_id: str
    batch_id: int
    ranges: tuple[OffsetRange, ...]
    rows_promised: int
    """Rows that the promised ranges hold if they have no holes; for clicks, whose objects expand to rows: those that
    their readers counted, and the holes.
    """
    rows_read: int
    rows_written: int
    quarantined: dict[str, int] = field(default_factory=dict)
    """Rows per list of reasons, joined by `+` where a row has several."""
    filtered: dict[str, int] = field(default_factory=dict)
    offset_holes: int = 0
    """Offsets that held no record by the log's design (transaction markers, compaction)."""
    first_event_at: str | None = None
    last_event_at: str | None = None
    """Event times of the good rows, in UTC; see `moment`."""
    code_version: str = ""
    kind: Literal["batch", "gap", "replay"] = "batch"
    reason: str = ""
    topic_ids: dict[str, str] = field(default_factory=dict)
    """The broker's own id of each topic: a topic that was deleted and made again has another."""
    ingested_at: str = ""
    """The batch's own stamp: each of its Bronze rows carries it as `_ingested_at` (UTC)."""
    duration_ms: int = 0
    """From the start of the batch to its Bronze commit."""
    redelivered: int = 0
    """Objects that were notified again and that Bronze already holds; none of their lines was read."""
    objects: dict[str, Any] = field(default_factory=dict)
    """For clicks: how many objects were read, their bytes, a digest, and up to a bound each of them."""
    warned: dict[str, int] = field(default_factory=dict)
    """Rows that were written although they break a rule, by rule: those that only warn."""
    vanished: int = 0
    """Of the rows that were read: those that only an earlier try of the batch saw. It had rejected them when it was cut
    off, and the source does not give them again (the object that they were in is gone).
    """

    @property
    def rows_quarantined(self) -> int:
        """Rows that went to the quarantine."""
        return sum(self.quarantined.values())

    @property
    def balances(self) -> bool:
        """Whether every row that was read is accounted for, once."""
        if self.kind == "gap":
            return True
        accounted = self.rows_written + self.rows_quarantined + sum(self.filtered.values())
        return accounted == self.rows_read == self.rows_promised - self.offset_holes

    def to_json(self) -> str:
        """The metadata of the Bronze commit."""
        # A range is a row of four values: names would be repeated for each of a thousand partitions.
        ranges = [[one.topic, one.partition, one.from_offset, one.to_offset] for one in self.ranges]
        return json.dumps({ENTRY: {**asdict(self), "ranges": ranges}}, separators=(",", ":"), default=str)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Entry:
        """The entry that `to_json` wrote (its inner object); fields that this version does not know are left out."""
        known = {one.name for one in fields(Entry)}
        ranges = tuple(OffsetRange(*one) for one in values["ranges"])
        return Entry(**{name: value for name, value in values.items() if name in known} | {"ranges": ranges})

    @staticmethod
    def from_row(row: dict[str, Any]) -> Entry:
        """The entry that a row of `ops.ledger` holds; moments carry their zone. What is null in it has its default."""
        values = {one.name: row[one.name] for one in fields(Entry) if row.get(one.name) is not None}
        for name in ("first_event_at", "last_event_at"):
            if name in values:
                values[name] = values[name].isoformat()
        ranges = tuple(OffsetRange(**one) for one in values["ranges"])
        objects = json.loads(values.get("objects", "{}"))
        if "ingested_at" in values:
            values["ingested_at"] = values["ingested_at"].astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
        return Entry(**values | {"ranges": ranges, "objects": objects})
