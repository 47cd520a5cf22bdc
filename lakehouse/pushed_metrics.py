"""What runs tell Prometheus, through a Pushgateway where one is set. What streams show is in `metrics`.

Alarms on these are in infra/prometheus/rules.yml; a test holds the two together by name.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

from lakehouse.logs import get_logger
from lakehouse.metrics import set_slot, slot_gauges
from lakehouse.settings import Settings

log = get_logger(__name__)
PUSH_SECONDS = 5.0
"""Longest wait for a Pushgateway: a night does not hang on a page that nobody may be reading."""
JOB = "lakehouse"

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
STOPPED = "stream_has_stopped_itself"
DRIVER = {STOPPED: "1 when the driver of the stream ended because a promise did not hold, 0 once it runs again."}
"""What a driver of streams pushes when it starts and when it gives up: name -> what it means."""

RECONCILED = {
    "reconciliation_differing_buckets": "Key buckets of the table that differed from Postgres when last compared.",
    "reconciliation_verified_timestamp_seconds": "Moment of the cut through which the table was last seen to equal "
    "Postgres, in seconds since 1970.",
}
"""What a comparison with Postgres pushes, by table: name -> what it means."""


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


def push_driver(settings: Settings, streams: Iterable[str], has_stopped_itself: bool) -> None:
    """Tell a Pushgateway, where one is set, whether the driver of these streams gave up: its page is gone by then."""
    # By stream: one that stopped in a group of its own may be started again in another.
    for stream in streams:
        registry = CollectorRegistry()
        Gauge(STOPPED, DRIVER[STOPPED], ["stream"], registry=registry).labels(stream).set(has_stopped_itself)
        if not _send(settings, {"stream": stream}, registry):
            return


def push_source(
    settings: Settings, wal_status: str, retained_bytes: int | None, incarnation_differs: bool, gaps: int
) -> None:
    """Push how a night found the source, where a Pushgateway is set."""
    registry = CollectorRegistry()
    set_slot(slot_gauges(registry), settings.source_slot, wal_status, retained_bytes)
    for (name, meaning), value in zip(SOURCE.items(), (incarnation_differs, gaps), strict=True):
        Gauge(name, meaning, registry=registry).set(value)
    _send(settings, {"source": "postgres"}, registry)


def _push(settings: Settings, pipeline: str, values: dict[str, float]) -> None:
    # A registry for each push: what is sent is this run and no other.
    registry = CollectorRegistry()
    for name, value in values.items():
        Gauge(name, PIPELINE[name], ["pipeline"], registry=registry).labels(pipeline).set(value)
    _send(settings, {"pipeline": pipeline}, registry)


def _send(settings: Settings, grouping_key: dict[str, str], registry: CollectorRegistry) -> bool:
    """Whether a gateway took it."""
    if not settings.pushgateway_url:
        return False
    address = settings.pushgateway_url
    try:
        pushadd_to_gateway(address, job=JOB, grouping_key=grouping_key, registry=registry, timeout=PUSH_SECONDS)
    except (OSError, ValueError) as error:
        log.warning("metrics_not_pushed", **grouping_key, reason=type(error).__name__)
        return False
    return True
