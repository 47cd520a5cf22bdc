"""What runs tell Prometheus: streams on a page of their own, runs through a Pushgateway where one is set.

Alarms on these are in infra/prometheus/rules.yml; a test holds the two together by name.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, pushadd_to_gateway, start_http_server
from prometheus_client.samples import Sample

from lakehouse.errors import LakehouseError
from lakehouse.ledger_entry import Entry
from lakehouse.logs import get_logger
from lakehouse.settings import Settings

log = get_logger(__name__)
PUSH_SECONDS = 5.0
"""Longest wait for a Pushgateway: a night does not hang on a page that nobody may be reading."""
JOB = "lakehouse"
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

PIPELINE = {
    "pipeline_duration_seconds": "Duration of the newest run, in seconds.",
    "pipeline_records_processed": "Rows that the newest run processed.",
    "pipeline_quality_score": "Quality score of the newest run that was scored, 0 to 100.",
    "pipeline_is_failed": "1 when the newest run failed, else 0.",
    "pipeline_last_success_timestamp_seconds": "When a run last succeeded, in seconds since 1970.",
}
"""What a run pushes, by pipeline: name -> what it means."""
SOURCE = {
    "source_incarnation_differs": "1 when the newest change names another database than the source is, else 0.",
    "source_gaps_open": "Holes in what the source sent that nobody accepted.",
}
"""What a night pushes about the source, besides its slot: name -> what it means."""
WAL_STATUSES = ("reserved", "extended", "unreserved", "lost", "missing")
"""States of a replication slot in Postgres' words, and ours for one that is not there."""


def _slot_gauges(registry: CollectorRegistry) -> tuple[Gauge, Gauge]:
    kept = "Log that the replication slot keeps on the source's disk, in bytes; 0 where it keeps none any more."
    state = "1 for the state that the replication slot is in, 0 for the others."
    return (
        Gauge("source_slot_retained_bytes", kept, ["slot"], registry=registry),
        Gauge("source_slot_wal_status", state, ["slot", "status"], registry=registry),
    )


SLOT = _slot_gauges(STREAMS)
STOPPED = "stream_has_stopped_itself"
DRIVER = {STOPPED: "1 when the driver of these streams ended because a promise did not hold, 0 once it runs again."}
"""What a driver of streams pushes when it starts and when it gives up: name -> what it means."""

RECONCILED = {
    "reconciliation_differing_buckets": "Key buckets of the table that differed from Postgres when last compared.",
    "reconciliation_verified_timestamp_seconds": "Moment of the cut through which the table was last seen to equal "
    "Postgres, in seconds since 1970.",
}
"""What a comparison with Postgres pushes, by table: name -> what it means."""


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
        # The session's zone is UTC, and the entry's times carry none.
        at = datetime.fromisoformat(entry.last_event_at).replace(tzinfo=UTC).timestamp()
        LAST_EVENT.labels(entry.stream).set(at)
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


def observe_progress(stream: str, offsets_behind: int) -> None:
    """A stream is alive, whether or not there was something to do, and `offsets_behind` the end of its topics."""
    BEHIND.labels(stream).set(offsets_behind)
    LAST_BATCH.labels(stream).set(time.time())


def registry_unavailable(seconds: float) -> None:
    """Streams have waited so many seconds for an answer of the schema registry; 0 when it answered."""
    REGISTRY_UNAVAILABLE.set(seconds)


def serve(settings: Settings) -> None:
    """Open the streams' page, on loopback unless told otherwise, where a port is set. Raises `MetricsPortBusy`."""
    if not settings.metrics_port:
        return
    try:
        start_http_server(settings.metrics_port, addr=settings.metrics_host, registry=STREAMS)
    except OSError:
        raise MetricsPortBusy(settings.metrics_host, settings.metrics_port) from None
    log.info("metrics_served", port=settings.metrics_port)


def push_run(
    settings: Settings,
    pipeline: str,
    duration_seconds: float,
    records: int,
    score: float | None = None,
    succeeded: bool = True,
) -> None:
    """Push the figures of one run (seconds, rows, score 0 to 100) where a Pushgateway is set.

    What is left out keeps its last value there: the score of a run without one, the time of the last success of a run
    that failed. A gateway that is down or slow is a warning after at most `PUSH_SECONDS`, not a failed run.
    """
    values: dict[str, float] = {
        "pipeline_duration_seconds": duration_seconds,
        "pipeline_records_processed": records,
        "pipeline_is_failed": 0 if succeeded else 1,
    }
    if score is not None:
        values["pipeline_quality_score"] = score
    if succeeded:
        values["pipeline_last_success_timestamp_seconds"] = time.time()
    _push(settings, pipeline, values)


def push_score(settings: Settings, pipeline: str, score: float) -> None:
    """Push a quality score alone (0 to 100), where the run that it belongs to is still going on."""
    _push(settings, pipeline, {"pipeline_quality_score": score})


def push_reconciliation(settings: Settings, differing: Mapping[str, int], verified_at: Mapping[str, float]) -> None:
    """Push how many buckets of each table differ, and for those that agree the moment of the cut (seconds)."""
    for table, buckets in differing.items():
        values = {"reconciliation_differing_buckets": float(buckets)}
        if table in verified_at:
            values["reconciliation_verified_timestamp_seconds"] = verified_at[table]
        registry = CollectorRegistry()
        for name, value in values.items():
            Gauge(name, RECONCILED[name], ["table"], registry=registry).labels(table).set(value)
        _send(settings, {"table": table}, registry)


def push_driver(settings: Settings, group: str, has_stopped_itself: bool) -> None:
    """Tell a Pushgateway, where one is set, whether the driver of a group gave up: its own page is gone by then."""
    registry = CollectorRegistry()
    Gauge(STOPPED, DRIVER[STOPPED], ["group"], registry=registry).labels(group).set(has_stopped_itself)
    _send(settings, {"group": group}, registry)


def observe_slot(slot: str, wal_status: str, retained_bytes: int | None) -> None:
    """Show the replication slot of the source on the streams' page."""
    _set_slot(SLOT, slot, wal_status, retained_bytes)


def push_source(
    settings: Settings, wal_status: str, retained_bytes: int | None, incarnation_differs: bool, gaps: int
) -> None:
    """Push how a night found the source, where a Pushgateway is set."""
    registry = CollectorRegistry()
    _set_slot(_slot_gauges(registry), settings.source_slot, wal_status, retained_bytes)
    for (name, meaning), value in zip(SOURCE.items(), (incarnation_differs, gaps), strict=True):
        Gauge(name, meaning, registry=registry).set(value)
    _send(settings, {"source": "postgres"}, registry)


def _set_slot(gauges: tuple[Gauge, Gauge], slot: str, wal_status: str, retained_bytes: int | None) -> None:
    kept, state = gauges
    kept.labels(slot).set(retained_bytes or 0)
    for status in WAL_STATUSES:
        state.labels(slot, status).set(status == wal_status)


def _push(settings: Settings, pipeline: str, values: dict[str, float]) -> None:
    # A registry for each push: what is sent is this run and no other.
    registry = CollectorRegistry()
    for name, value in values.items():
        Gauge(name, PIPELINE[name], ["pipeline"], registry=registry).labels(pipeline).set(value)
    _send(settings, {"pipeline": pipeline}, registry)


def _send(settings: Settings, grouping_key: dict[str, str], registry: CollectorRegistry) -> None:
    if not settings.pushgateway_url:
        return
    address = settings.pushgateway_url
    try:
        pushadd_to_gateway(address, job=JOB, grouping_key=grouping_key, registry=registry, timeout=PUSH_SECONDS)
    except (OSError, ValueError) as error:
        log.warning("metrics_not_pushed", **grouping_key, reason=type(error).__name__)
