"""Spark's own word about its streams, for the metrics page: alive, and how far behind."""

from __future__ import annotations

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from lakehouse import metrics

BEHIND = "maxOffsetsBehindLatest"
"""Spark's name for the distance of the partition that is furthest behind."""


class ProgressMetrics(StreamingQueryListener):
    """Turns progress and idle events into `stream_offsets_behind_latest` and `stream_last_batch_timestamp_seconds`.

    A query is named after its stream. An idle event has only the query's run id: names are kept from the start event.
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, str] = {}

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: N802
        """Remember the name."""
        self._names[str(event.runId)] = event.name or str(event.id)

    def onQueryProgress(self, event: QueryProgressEvent) -> None:  # noqa: N802
        """A batch ended, or a trigger found nothing."""
        progress = event.progress
        behind = [int(float((source.metrics or {}).get(BEHIND, 0))) for source in progress.sources]
        metrics.observe_progress(progress.name or str(progress.id), max(behind, default=0))

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: N802
        """Nothing arrived for a while; the query looked."""
        name = self._names.get(str(event.runId))
        if name:
            metrics.observe_progress(name, 0)

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: N802
        """Its last moment stays on the page: that is what the alarm compares with the clock."""
        self._names.pop(str(event.runId), None)
