"""The driver of the streams stops what it started and says why: a lost lease, a gap, a batch that failed."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from lakehouse import metrics
from lakehouse.errors import LeaseLost
from lakehouse.settings import Settings
from streaming import queries
from streaming.continuity import SourceHasGap


class Query:
    """A query that was started and waits for rows."""

    def __init__(self, name: str) -> None:
        self.name, self.isActive, self.status = name, True, {"isTriggerActive": False}

    def stop(self) -> None:
        self.isActive = False


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Query]:
    """What was started: all but the second of the streams, in whose source records are missing."""
    queries_started: list[Query] = []

    def start(_spark: Any, _settings: Any, stream: Any, *_: Any) -> Query:
        if queries_started:
            raise SourceHasGap({stream.spec.table: []})
        queries_started.append(Query(stream.spec.table))
        return queries_started[-1]

    monkeypatch.setattr(queries, "start", start)
    monkeypatch.setattr(queries.beginning, "require_no_gaps", lambda *_: None)
    monkeypatch.setattr(queries, "build_session", lambda *_: SimpleNamespace(stop=lambda: None))
    monkeypatch.setattr(queries.page_watch, "start", lambda *_: None)
    return queries_started


def test_a_lost_lease_stops_the_driver_between_batches() -> None:
    idle: Any = SimpleNamespace(isActive=True)
    held: Any = {"one": SimpleNamespace(lost=""), "other": SimpleNamespace(lost="the lease other: it was taken")}
    with pytest.raises(LeaseLost, match="the lease other: it was taken"):
        queries._wait([idle], threading.Event(), held)


def test_a_gap_that_is_found_at_the_start_is_told_and_stops_what_was_started(
    settings: Settings, started: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[tuple[list[str], bool]] = []
    monkeypatch.setattr(
        queries.pushed_metrics,
        "push_driver",
        lambda _, tables, has_stopped_itself: pushed.append((tables, has_stopped_itself)),
    )
    with pytest.raises(SourceHasGap):
        queries.run(settings, "changes", until_caught_up=False)
    assert pushed == [([one.spec.table for one in queries.streams("changes", settings)], True)]
    seen = metrics.STREAMS.get_sample_value
    assert seen("stream_row_warnings_total", {"stream": "orders_changes", "rule": "unknown_status"}) is not None
    assert [query.isActive for query in started] == [False]


def test_a_night_leaves_no_query_behind_when_one_can_not_start(settings: Settings, started: list[Query]) -> None:
    spark: Any = SimpleNamespace()
    with pytest.raises(SourceHasGap):
        queries.catch_up(spark, settings, "changes")
    assert [query.isActive for query in started] == [False]


@pytest.fixture
def asked(started: list[Query], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables whose gaps were asked for before anything was started; all of them have some."""
    tables: list[str] = []

    def require_no_gaps(_spark: Any, _settings: Any, streams: Any) -> None:
        assert not started
        tables.extend(one.spec.table for one in streams)
        raise SourceHasGap({table: [] for table in tables})

    monkeypatch.setattr(queries.beginning, "require_no_gaps", require_no_gaps)
    monkeypatch.setattr(queries.pushed_metrics, "push_driver", lambda *_, **__: None)
    return tables


def test_the_gaps_of_all_streams_are_told_before_any_is_started(
    settings: Settings, started: list[Query], asked: list[str]
) -> None:
    spark: Any = SimpleNamespace()
    chosen = [one.spec.table for one in queries.streams("changes", settings)]
    with pytest.raises(SourceHasGap, match="; and in the source of "):
        queries.run(settings, "changes", until_caught_up=False)
    with pytest.raises(SourceHasGap, match="; and in the source of "):
        queries.catch_up(spark, settings, "changes")
    assert (asked, started) == ([*chosen, *chosen], [])


def test_who_accepts_the_gaps_is_not_asked_again(settings: Settings, started: list[Query], asked: list[str]) -> None:
    spark: Any = SimpleNamespace()
    with pytest.raises(SourceHasGap):
        queries.run(settings, "changes", until_caught_up=False, accepted_gap="the disk was lost")
    with pytest.raises(SourceHasGap):
        queries.catch_up(spark, settings, "changes", "the disk was lost")
    assert asked == []
    assert len(started) == 1


@pytest.mark.parametrize("kind", ["lakehouse.kafka_offsets.TopicMissing", "lakehouse.errors.BatchDoesNotBalance"])
def test_our_own_error_comes_out_of_a_query_as_its_sentence(kind: str) -> None:
    trouble: Any = (
        f"[STREAM_FAILED] Query terminated\nTraceback:\n  File x\n{kind}: The sentence: and the cure.\n  at y"
    )
    assert str(queries._cause("clicks", trouble)) == "The stream clicks stopped itself. The sentence: and the cure."


def test_a_full_disk_stops_a_stream_with_the_cure_and_without_the_stack_trace() -> None:
    trouble: Any = (
        "[STREAM_FAILED] Query terminated: Job aborted.\n\tat org.apache.spark.x\n"
        "Caused by: java.io.IOException: No space left on device\n\tat y"
    )
    told = str(queries._cause("clicks", trouble))
    assert told.startswith("The stream clicks stopped: A disk is full (No space left on device): ")
    assert "\n" not in told


@pytest.mark.parametrize(("group", "at_most"), [("clicks", 2_000), ("inventory", 500_000)])
def test_a_batch_of_clicks_takes_few_notifications_and_one_of_rows_takes_many(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, group: str, at_most: int
) -> None:
    monkeypatch.setattr(queries.beginning, "of", lambda *_: None)
    monkeypatch.setattr(queries.delta_io, "ensure", lambda *_: None)
    monkeypatch.setattr(queries, "BronzeWriter", lambda *_: None)
    spark = MagicMock()
    reader = spark.readStream.format.return_value.options.return_value
    reader.option.return_value = reader
    (stream,) = queries.streams(group, settings)
    queries.start(spark, settings, stream, MagicMock(), MagicMock(), until_caught_up=True)
    assert dict(call.args for call in reader.option.call_args_list)["maxOffsetsPerTrigger"] == at_most
