"""The owner's side of requests about rejected rows: takes them up between the batches, and tells the backlog."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pyspark.sql import SparkSession

from lakehouse import metrics
from lakehouse.lease import Held
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import SILVER_CAPTURED
from streaming import quarantine_requests, quarantine_standing, replay
from streaming.bronze_writer import BronzeStream
from streaming.quarantine_requests import Answer, Request
from streaming.writer_schemas import Registry

log = get_logger(__name__)
POLL_SECONDS = 1.0
MEASURE_SECONDS = 60.0
TROUBLE_CHARACTERS = 1_000


def serve(
    spark: SparkSession,
    settings: Settings,
    streams: Sequence[BronzeStream],
    registry: Registry,
    held: Mapping[str, Held],
) -> int:
    """Execute and answer what waits, oldest first; returns how many requests. `held`: the lease of each stream, by its
    table.
    """
    for one in streams:
        quarantine_requests.refuse_unreadable(settings, one.spec.table)
    waiting = [(one, request) for one in streams for request in quarantine_requests.pending(settings, one.spec.table)]
    for stream, request in waiting:
        answer = _executed(spark, settings, stream, registry, request, held[stream.spec.table])
        quarantine_requests.give_answer(settings, request, answer)
    return len(waiting)


def _executed(
    spark: SparkSession, settings: Settings, stream: BronzeStream, registry: Registry, request: Request, held: Held
) -> Answer:
    try:
        return replay.execute(spark, settings, stream, registry, request, held)
    except InterruptedError:
        # The driver is stopping: the request stays for the next owner.
        raise
    except Exception as trouble:  # whatever it is, the stream goes on, and who asked is told
        log.error("request_failed", stream=request.stream, request=request.request_id, reason=type(trouble).__name__)
        return Answer(trouble=str(trouble)[:TROUBLE_CHARACTERS])


@contextmanager
def open_for(
    spark: SparkSession,
    settings: Settings,
    streams: Sequence[BronzeStream],
    registry: Registry,
    held: Mapping[str, Held],
    stopping: threading.Event,
) -> Iterator[None]:
    """Serve requests in a thread of its own while the block runs. The block sets `stopping` before it ends."""
    desk = threading.Thread(
        target=_run, args=(spark, settings, streams, registry, held, stopping), name="quarantine-desk", daemon=True
    )
    desk.start()
    try:
        yield
    finally:
        stopping.set()
        desk.join()


def _run(
    spark: SparkSession,
    settings: Settings,
    streams: Sequence[BronzeStream],
    registry: Registry,
    held: Mapping[str, Held],
    stopping: threading.Event,
) -> None:
    spark.sparkContext.setLocalProperty("spark.scheduler.pool", "quarantine")
    measured_at = float("-inf")
    while True:
        served = _served(spark, settings, streams, registry, held)
        is_due = time.monotonic() - measured_at > MEASURE_SECONDS
        if settings.metrics_port and (served or is_due):
            measure(settings, measured(streams))
            measured_at = time.monotonic()
        if stopping.wait(POLL_SECONDS):
            return


def _served(
    spark: SparkSession,
    settings: Settings,
    streams: Sequence[BronzeStream],
    registry: Registry,
    held: Mapping[str, Held],
) -> int:
    try:
        return serve(spark, settings, streams, registry, held)
    except InterruptedError:
        return 0
    except Exception as trouble:  # whatever it is, the desk stays open, and the stream goes on
        log.error("requests_not_read", reason=f"{type(trouble).__name__}: {trouble}"[:TROUBLE_CHARACTERS])
        return 0


def measured(streams: Sequence[BronzeStream]) -> list[str]:
    """The streams, and the merges that read what they write: a night is over before anybody could look at its page."""
    names = [one.spec.table for one in streams]
    return [*names, *(table.rejects for table in SILVER_CAPTURED if table.changes.table in names)]


def measure(settings: Settings, streams: Sequence[str]) -> None:
    """Tell the metrics page how many rejected rows of each stream (or merge) are open, and since when, by reason."""
    for stream in streams:
        try:
            metrics.quarantine_backlog(stream, quarantine_standing.backlog(settings, stream))
        except Exception as trouble:  # a page that is a minute old is no reason to stop a stream
            log.warning("quarantine_not_measured", stream=stream, reason=type(trouble).__name__)
