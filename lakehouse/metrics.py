"""What streams tell Prometheus, on a page of their own. What runs push is in `pushed_metrics`.

Alarms on these are in infra/prometheus/rules.yml; a test holds the two together by name.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.samples import Sample

from lakehouse.errors import LakehouseError
from lakehouse.ledger_entry import Entry, moment
from lakehouse.logs import get_logger
from lakehouse.settings import Settings

log = get_logger(__name__)
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
OUTCOMES = ("written", "quarantined", "filtered")

STREAMS = CollectorRegistry()
ROWS = Counter("stream_rows", "Rows by what became of them.", ["stream", "outcome"], registry=STREAMS)
BATCH_SECONDS = Histogram(
    "stream_batch_seconds", "Duration of a micro-batch, in seconds.", ["stream"], registry=STREAMS, buckets=BUCKETS
)
LAST_BATCH = Gauge(
    "stream_last_batch_timestamp_seconds",
    "When the stream last committed a batch or found nothing to do, in seconds since 1970.",
    ["stream"],
    registry=STREAMS,
)
BEHIND = Gauge(
    "stream_offsets_behind_latest", "Offsets from the stream to the end of its topics.", ["stream"], registry=STREAMS
)
ROW_WARNINGS = Counter(
    "stream_row_warnings", "Rows written although they break a rule, by rule.", ["stream", "rule"], registry=STREAMS
)
OPEN_ROWS = Gauge(
    "quarantine_open_rows", "Rejected rows that wait for a decision.", ["stream", "reason"], registry=STREAMS
)
OLDEST_OPEN = Gauge(
    "quarantine_oldest_open_timestamp_seconds",
    "When the oldest rejected row that waits for a decision was rejected, in seconds since 1970.",
    ["stream", "reason"],
    registry=STREAMS,
)
OBJECTS = Counter(
    "click_objects", "Objects of the landing bucket by what became of them.", ["outcome"], registry=STREAMS
)
BUCKET_LISTED = Gauge(
    "click_objects_last_listed_timestamp_seconds",
    "When the landing bucket was last looked through for new objects, in seconds since 1970; 0 where nobody does.",
    registry=STREAMS,
)
LAST_EVENT = Gauge(
    "stream_last_event_timestamp_seconds",
    "Newest event time in the newest batch of the stream, in seconds since 1970.",
    ["stream"],
    registry=STREAMS,
)
REGISTRY_UNAVAILABLE = Gauge(
    "schema_registry_unavailable_seconds",
    "For how long streams have been waiting for an answer of the schema registry, in seconds; 0 when it answers.",
    registry=STREAMS,
)
ALERTS_WAITING = Gauge(
    "alerts_waiting", "Alerts on the topic that the notifier is not done with, as of the last minute.", registry=STREAMS
)

WAL_STATUSES = ("reserved", "extended", "unreserved", "lost", "missing")
"""States of a replication slot in Postgres' words, and ours for one that is not there."""


def slot_gauges(registry: CollectorRegistry) -> tuple[Gauge, Gauge]:
    """The two gauges of the replication slot, in a registry."""
    kept = "Log that the replication slot keeps on the source's disk, in bytes; 0 where it keeps none any more."
    state = "1 for the state that the replication slot is in, 0 for the others."
    return (
        Gauge("source_slot_retained_bytes", kept, ["slot"], registry=registry),
        Gauge("source_slot_wal_status", state, ["slot", "status"], registry=registry),
    )


SLOT = slot_gauges(STREAMS)


class MetricsPortBusy(LakehouseError):
    """Another process listens on the port of the streams' metrics page."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"The port {port} of the metrics page is taken on {host}. "
            "Stop what listens there, or choose another with LAKEHOUSE_METRICS_PORT (0 switches the page off)."
        )


def count_batch(entry: Entry, seconds: float) -> None:
    """Count one committed micro-batch that took `seconds`."""
    rows = (entry.rows_written, entry.rows_quarantined, sum(entry.filtered.values()))
    for outcome, number in zip(OUTCOMES, rows, strict=True):
        ROWS.labels(entry.stream, outcome).inc(number)
    for rule, number in entry.warned.items():
        ROW_WARNINGS.labels(entry.stream, rule).inc(number)
    if entry.last_event_at:
        LAST_EVENT.labels(entry.stream).set(moment(entry.last_event_at).timestamp())
    BATCH_SECONDS.labels(entry.stream).observe(seconds)
    LAST_BATCH.labels(entry.stream).set(time.time())


def quarantine_backlog(stream: str, backlog: Mapping[str, tuple[int, float]]) -> None:
    """By list of reasons (joined by `+`): how many rows of a stream are open, and when the oldest was rejected, in
    seconds since 1970. A reason that has none any more shows 0 rows and no age.
    """
    told = {sample.labels["reason"] for sample in _samples(OPEN_ROWS) if sample.labels["stream"] == stream}
    for reason in told - backlog.keys():
        OPEN_ROWS.labels(stream, reason).set(0)
    for reason in {one.labels["reason"] for one in _samples(OLDEST_OPEN) if one.labels["stream"] == stream}:
        if reason not in backlog:
            OLDEST_OPEN.remove(stream, reason)
    for reason, (rows, oldest) in backlog.items():
        OPEN_ROWS.labels(stream, reason).set(rows)
        OLDEST_OPEN.labels(stream, reason).set(oldest)


def _samples(gauge: Gauge) -> list[Sample]:
    return [sample for family in gauge.collect() for sample in family.samples]


def count_objects(outcomes: Mapping[str, int]) -> None:
    """Count the objects of one batch by outcome: `read`, `redelivered`, or the fault that kept one from being read."""
    for outcome, number in outcomes.items():
        OBJECTS.labels(outcome).inc(number)


def bucket_listed() -> None:
    """The landing bucket was looked through now, or this driver begins to."""
    BUCKET_LISTED.set(time.time())


def observe_progress(stream: str, offsets_behind: int) -> None:
    """A stream is alive, whether or not there was something to do, and `offsets_behind` the end of its topics."""
    BEHIND.labels(stream).set(offsets_behind)
    LAST_BATCH.labels(stream).set(time.time())


def registry_unavailable(seconds: float) -> None:
    """Streams have waited so many seconds for an answer of the schema registry; 0 when it answered."""
    REGISTRY_UNAVAILABLE.set(seconds)


def alerts_waiting(number: int) -> None:
    """The notifier is not done with so many alerts."""
    ALERTS_WAITING.set(number)


def begin_at_zero(warning_rules: Mapping[str, Iterable[str]], object_outcomes: Iterable[str]) -> None:
    """Show what may happen before it does, by stream -> the rules that only warn, and by outcome of objects: Prometheus
    sees no increase in a counter that is born with its first fault.
    """
    for stream, rules in warning_rules.items():
        for outcome in OUTCOMES:
            ROWS.labels(stream, outcome)
        for rule in rules:
            ROW_WARNINGS.labels(stream, rule)
    for outcome in object_outcomes:
        OBJECTS.labels(outcome)


def serve(settings: Settings) -> None:
    """Open the streams' page, on loopback unless told otherwise, where a port is set. Raises `MetricsPortBusy`."""
    if not settings.metrics_port:
        return
    try:
        start_http_server(settings.metrics_port, addr=settings.metrics_host, registry=STREAMS)
    except OSError:
        raise MetricsPortBusy(settings.metrics_host, settings.metrics_port) from None
    log.info("metrics_served", port=settings.metrics_port)


def observe_slot(slot: str, wal_status: str, retained_bytes: int | None) -> None:
    """Show the replication slot of the source on the streams' page."""
    set_slot(SLOT, slot, wal_status, retained_bytes)


def set_slot(gauges: tuple[Gauge, Gauge], slot: str, wal_status: str, retained_bytes: int | None) -> None:
    """Set them: the log that the slot keeps (bytes, None for none) and its state."""
    kept, state = gauges
    kept.labels(slot).set(retained_bytes or 0)
    for status in WAL_STATUSES:
        state.labels(slot, status).set(status == wal_status)
