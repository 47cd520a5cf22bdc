"""Offsets without records, and a second client who says so too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lakehouse.errors import BatchDoesNotBalance
from lakehouse.kafka_offsets import committed_records
from lakehouse.ledger_entry import OffsetRange
from lakehouse.settings import Settings

if TYPE_CHECKING:
    from streaming.bronze_writer import BronzeStream

EVERY = 50
"""Of a topic that has holes by design, the first batch and then every so many are counted."""
AT_MOST = 200_000
"""Offsets in such a batch; a larger one is left to `lakehouse ledger verify`."""


def holes(settings: Settings, stream: BronzeStream, number: int, ranges: Sequence[OffsetRange], records: int) -> int:
    """How many offsets of a batch, in which `records` were found, hold none (transaction markers, compaction).

    Raises `BatchDoesNotBalance` when the second client, who reads committed records too, counts otherwise.
    """
    promised = sum(one.size for one in ranges)
    if records > promised:
        raise BatchDoesNotBalance(stream.spec.table, number, promised, records, "more records than offsets")
    # A topic that has none by design is asked about each: a producer may write in transactions after all.
    is_asked = number % EVERY == 0 and promised <= AT_MOST if stream.has_holes else records < promised
    if is_asked:
        told = sum(committed_records(settings, ranges).values())
        if told != records:
            raise BatchDoesNotBalance(stream.spec.table, number, told, records, "as counted by a second client")
    return promised - records
