"""What becomes of a batch of notifications: the lines of the objects that they name, and what is known of these."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame

from lakehouse.delta_io import Mark

LISTED_OBJECTS = 50
"""Up to so many objects stand one by one in a ledger entry (about 200 bytes each)."""


@dataclass(frozen=True)
class TakenObject:
    """One object that a batch took. `lines` were handed on; `outcome` is `read` or the fault that kept it from that."""

    address: str
    etag: str
    size: int
    lines: int
    outcome: str


@dataclass(frozen=True)
class Taken:
    """What a batch took, known when its frame was read once."""

    objects: tuple[TakenObject, ...] = ()
    redelivered: int = 0
    """Objects that were notified again: within the batch, or by one that Bronze already holds."""
    bad_notifications: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    """Records of a notification that put no object here, by name."""

    @property
    def rows(self) -> int:
        """Rows that the frame holds, as the readers of the objects counted them: each line, and a row per fault."""
        faults = sum(one.outcome != "read" for one in self.objects)
        return sum(one.lines for one in self.objects) + faults + self.bad_notifications

    @property
    def outcomes(self) -> Counter[str]:
        """Objects by what became of them."""
        more = Counter({"redelivered": self.redelivered, "bad_notification": self.bad_notifications})
        return Counter(one.outcome for one in self.objects) + more

    def to_ledger(self) -> dict[str, Any]:
        """The part of the ledger entry about objects; its size has a bound, whatever the batch holds."""
        told = sorted((one.address, one.etag, one.size, one.lines, one.outcome) for one in self.objects)
        digest = hashlib.sha256("\n".join("\t".join(map(str, one)) for one in told).encode())
        return {
            "count": len(told),
            "bytes": sum(one.size for one in self.objects if one.outcome == "read"),
            "outcomes": dict(sorted(self.outcomes.items())),
            "ignored": dict(sorted(self.ignored.items())),
            "digest": digest.hexdigest(),
            "listed": told if len(told) <= LISTED_OBJECTS else [],
        }


@dataclass(frozen=True)
class Expanded:
    """The rows that a batch of notifications announces."""

    frame: DataFrame
    notifications: int
    """Records that were read: equal the offsets that were promised, less those that hold no record."""
    taken: Callable[[], Taken]
    """To be asked after the frame was read."""
    remember: Callable[[Mark], None]
    """Write down what was taken; before the Bronze commit of the same mark."""
