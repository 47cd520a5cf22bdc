"""Has everything that Postgres had committed at the cut come to Bronze?

A heartbeat that was committed after the cut and came out of Kafka, the end of every change topic after it, and Bronze's
own positions at or beyond these ends prove it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pyspark.sql import SparkSession

from lakehouse import delta_io
from lakehouse.append import Append
from lakehouse.errors import LakehouseError
from lakehouse.kafka_offsets import end_offsets
from lakehouse.logs import get_logger
from lakehouse.positions import places
from lakehouse.settings import Settings
from lakehouse.source_beat import prove_arrival
from lakehouse.standstill import Standstill
from lakehouse.tables import SILVER_CAPTURED, CapturedTable

log = get_logger(__name__)
TIMEOUT_SECONDS = 300.0
"""So long may Bronze take nothing. A large transaction takes longer, and is seen to come."""
POLL_SECONDS = 0.5
Ends = Mapping[tuple[str, int], int]


class ChangesNotInBronze(LakehouseError):
    """Bronze does not hold all changes that Kafka held after the cut."""

    def __init__(self, behind: Ends, seconds: float) -> None:
        named = ", ".join(f"{topic}/{partition} by {offsets} offsets" for (topic, partition), offsets in behind.items())
        super().__init__(
            f"Bronze does not hold the changes up to the cut, and took none for {seconds:.0f} s: it is behind {named}. "
            "Look at the log of the streams (`lakehouse stream changes`); nothing was merged."
        )


def ends_after_beat(settings: Settings, tables: Sequence[CapturedTable] = SILVER_CAPTURED) -> Ends:
    """Call it after the cut: (topic, partition) -> the offset up to which Bronze has to come.

    Raises `ChangesDoNotArrive` when the connector does not deliver.
    """
    prove_arrival(settings)
    return end_offsets(settings, [table.topic(settings) for table in tables])


def behind(spark: SparkSession, settings: Settings, ends: Ends, tables: Sequence[CapturedTable]) -> Ends:
    """(topic, partition) -> how many offsets Bronze is behind its end; empty when it holds them all."""
    held: dict[tuple[str, int], int] = {}
    for table in tables:
        if not delta_io.exists(spark, table.changes, settings):
            continue
        positions = places(Append(spark, table.changes, settings).positions())
        held |= {(place.topic, place.partition): offset for place, offset in positions.items()}
    return {place: end - held.get(place, 0) for place, end in ends.items() if held.get(place, 0) < end}


def wait_for_bronze(
    spark: SparkSession,
    settings: Settings,
    ends: Ends,
    tables: Sequence[CapturedTable] = SILVER_CAPTURED,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Return when Bronze holds the changes of the tables up to `ends`. Raises `ChangesNotInBronze` when it takes none
    for so long.
    """
    standstill = Standstill(timeout_seconds)
    while missing := behind(spark, settings, ends, tables):
        if standstill.lasts(missing):
            raise ChangesNotInBronze(missing, timeout_seconds)
        time.sleep(POLL_SECONDS)
    log.info("changes_are_in_bronze", partitions=len(ends))
