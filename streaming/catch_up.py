"""Bring Bronze up to what the sources hold now: by running the streams, or by waiting for those that run already."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pyspark.sql import SparkSession

from lakehouse import lease
from lakehouse.errors import LakehouseError, LeaseHeld
from lakehouse.kafka_offsets import end_offsets
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.standstill import Standstill
from streaming import checkpoint, queries
from streaming.bronze_writer import BronzeStream
from streaming.object_lister import ObjectLister

log = get_logger(__name__)
TIMEOUT_SECONDS = 300.0
"""So long may streams that are behind take nothing: a large transaction takes longer, batch by batch."""
POLL_SECONDS = 0.5
Positions = Mapping[tuple[str, int], int]


class StreamsAreBehind(LakehouseError):
    """The streams that run are not at the end of their topics, and do not move."""

    def __init__(self, behind: Mapping[tuple[str, int], int]) -> None:
        named = ", ".join(f"{topic}/{partition} by {offsets} offsets" for (topic, partition), offsets in behind.items())
        super().__init__(
            f"The running streams are behind and took nothing for {TIMEOUT_SECONDS:.0f} s: {named}. Look at their log; "
            "start the night again when they have caught up."
        )


class ObjectsNotAnnounced(LakehouseError):
    """The streams that run do not announce the newest objects of the landing bucket."""

    def __init__(self, bucket: str) -> None:
        super().__init__(
            f"The bucket {bucket} holds objects that the streams did not announce within {TIMEOUT_SECONDS:.0f} s. Look "
            "for `landing_bucket_not_listed` or `object_not_complete` in their log, then start the night again."
        )


def catch_up(spark: SparkSession, settings: Settings) -> None:
    """Return when Bronze holds everything that Kafka and the landing bucket held at the call.

    Who holds a stream's lease need not run it: sending rejected rows through again, or compacting, takes a minute.

    Raises `StreamsAreBehind`, or what a stream raises.
    """
    streams = queries.streams("all", settings)
    while not (_are_held(settings, streams) and _caught_up_by_their_holder(spark, settings, streams)):
        try:
            queries.catch_up(spark, settings)
            return
        except LeaseHeld as error:
            # Somebody took it at this moment: that may be the streams.
            log.info("streams_not_taken_over", reason=str(error))


def _are_held(settings: Settings, streams: tuple[BronzeStream, ...]) -> bool:
    return any(lease.is_held(queries.lease_of(stream), settings) for stream in streams)


def _caught_up_by_their_holder(spark: SparkSession, settings: Settings, streams: tuple[BronzeStream, ...]) -> bool:
    """Wait for the streams that run. False when nobody holds a lease any more: they ended, or it was another's."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while ObjectLister(settings).has_new():
        if time.monotonic() > deadline:
            raise ObjectsNotAnnounced(settings.landing_bucket)
        time.sleep(POLL_SECONDS)
        if not _are_held(settings, streams):
            return False
    ends = end_offsets(settings, [topic for stream in streams for topic in stream.topics])
    standstill = Standstill(TIMEOUT_SECONDS)
    while behind := _behind(spark, settings, streams, ends):
        if standstill.lasts(behind):
            raise StreamsAreBehind(behind)
        time.sleep(POLL_SECONDS)
        if not _are_held(settings, streams):
            return False
    log.info("streams_caught_up", partitions=len(ends))
    return True


def _behind(
    spark: SparkSession, settings: Settings, streams: tuple[BronzeStream, ...], ends: Positions
) -> dict[tuple[str, int], int]:
    done: dict[tuple[str, int], int] = {}
    for stream in streams:
        done |= checkpoint.committed_positions(spark, checkpoint.location(stream.spec, settings))
    return {place: end - done.get(place, 0) for place, end in ends.items() if done.get(place, 0) < end}
