"""Where a stream begins when its topic is another one than before, lost records, or its driver died on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakehouse import delta_io, direct_read
from lakehouse.append import Append
from lakehouse.kafka_offsets import TopicLog
from lakehouse.positions import Place, begun_again, places
from lakehouse.settings import Settings
from lakehouse.tables import ALERTS, CLICK_EVENTS, INVENTORY_EVENTS, SOURCE_MARKERS, quarantine_of
from streaming import beginning, checkpoint, inventory_events
from streaming.beginning import Offsets
from streaming.continuity import SourceHasGap

LOGS = {"a": TopicLog("id/a", {0: 0}, {0: 30}), "b": TopicLog("id/b", {0: 0}, {0: 9})}


class DriverDied(BaseException):
    """Stands for the end of the process."""


class Start:
    """Starts the stream of one topic after the other on one Bronze table; the broker's answers are `LOGS`."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark, self.settings = spark, settings
        self.logs = dict(LOGS)
        self.saved = Path(checkpoint.location(INVENTORY_EVENTS, settings))
        delta_io.ensure(spark, INVENTORY_EVENTS, settings)

    def describe(self, topics: tuple[str, ...]) -> dict[str, TopicLog]:
        return {topic: self.logs[topic] for topic in topics}

    def __call__(self, topic: str, accepted: str = "", keeps_partitions: bool = False) -> Offsets | None:
        stream = replace(inventory_events.stream(self.settings), topics=(topic,), keeps_partitions=keeps_partitions)
        return beginning.of(self.spark, self.settings, stream, accepted)

    def begun_again(self) -> dict[str, int]:
        return begun_again(Append(self.spark, INVENTORY_EVENTS, self.settings).positions())

    def read(self, topic: str, up_to: int, partition: int = 0) -> None:
        """What a batch leaves behind: a position, and a checkpoint that has begun."""
        moved = {Place(topic, self.logs[topic].topic_id, partition).application: up_to}
        Append(self.spark, INVENTORY_EVENTS, self.settings).commit(moved, "{}")
        self.saved.mkdir(parents=True, exist_ok=True)
        (self.saved / "metadata").write_text('{"id": "q"}', "utf-8")

    def begin(self, first: Offsets) -> None:
        """What a first start leaves behind whose first batch was never done."""
        (self.saved / "sources" / "0").mkdir(parents=True, exist_ok=True)
        (self.saved / "metadata").write_text('{"id": "q"}', "utf-8")
        (self.saved / "sources" / "0" / "0").write_text(f"\0v1\n{json.dumps(first)}", "utf-8")

    def held(self) -> dict[Place, int]:
        return places(Append(self.spark, INVENTORY_EVENTS, self.settings).positions())


@pytest.fixture
def start(spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Start:
    start = Start(spark, settings)
    monkeypatch.setattr(beginning, "TopicLogs", lambda _: start)
    return start


def test_a_topic_to_which_the_settings_come_back_goes_on_where_bronze_left_it(start: Start) -> None:
    start.read("a", up_to=22)
    assert start("b", "by mistake") is None
    start.read("b", up_to=4)
    assert start("a", "back again") == {"a": {0: 22}}
    start.read("a", up_to=25)
    assert start("b", "the new one after all") == {"b": {0: 4}}


def test_a_topic_that_comes_back_without_what_is_needed_has_a_gap(start: Start) -> None:
    start.read("a", up_to=22)
    start("b", "by mistake")
    start.logs["a"] = TopicLog("id/a", {0: 25}, {0: 30})
    with pytest.raises(SourceHasGap, match="Bronze ended at offset 22, but the log begins at 25"):
        start("a")
    assert start("a", "too late") == {"a": {0: 25}}


def test_behind_a_gap_the_quarantine_still_knows_what_it_holds(start: Start) -> None:
    """A batch from 22 to 28 was cut off behind its rejected rows; then retention removed what lay before 25."""
    start.read("a", up_to=22)
    quarantine, place = quarantine_of(INVENTORY_EVENTS.table), Place("a", "id/a", 0)
    delta_io.ensure(start.spark, quarantine, start.settings)
    Append(start.spark, quarantine, start.settings).commit({place.application: 28}, "{}")
    start.logs["a"] = TopicLog("id/a", {0: 25}, {0: 30})
    assert start("a", "too late") == {"a": {0: 25}}
    assert places(Append(start.spark, quarantine, start.settings).positions()) == {place: 28}
    assert start.begun_again() == {}


def test_a_log_that_lost_its_end_is_passed_over_where_it_ends(start: Start) -> None:
    start.read("a", up_to=40)
    with pytest.raises(SourceHasGap, match="Bronze ended at offset 40, but the log ends at 30"):
        start("a")
    assert start("a", "the disk was restored") == {"a": {0: 30}}
    # Offsets 30 to 39 will be given out again: whoever merged them must take what comes there.
    assert start.begun_again() == {"begun-again/a": 1}


def test_a_topic_that_was_made_again_with_fewer_partitions_goes_on_with_those(start: Start) -> None:
    start.logs["a"] = TopicLog("id/a", {0: 0, 1: 0, 2: 0}, {0: 30, 1: 30, 2: 30})
    for partition in range(3):
        start.read("a", up_to=22, partition=partition)
    start.logs["a"] = TopicLog("another id", {0: 0, 1: 0}, {0: 30, 1: 30})
    for reason in ("made again", ""):
        assert start("a", reason) == {"a": {0: 0, 1: 0}}


def test_a_new_partition_that_lost_its_beginning_is_passed_over_by_name(start: Start) -> None:
    start.read("a", up_to=22)
    start.logs["a"] = TopicLog("id/a", {0: 0, 1: 25}, {0: 30, 1: 40})
    with pytest.raises(SourceHasGap, match="new partition begins at 25"):
        start("a")
    assert start("a", "trimmed before it was read") == {"a": {0: 22, 1: 25}}
    (entry,) = direct_read.ledger_entries(start.settings, INVENTORY_EVENTS.table)
    assert [(one.partition, one.from_offset, one.to_offset) for one in entry.ranges] == [(1, 0, 25)]


def test_a_checkpoint_that_was_only_begun_takes_the_positions_of_bronze(start: Start) -> None:
    start.read("a", up_to=22)
    assert start("a") == {"a": {0: 22}}


def test_a_topic_that_was_made_again_begins_again(start: Start) -> None:
    start.read("a", up_to=22)
    start.logs["a"] = TopicLog("another id", {0: 0}, {0: 30})
    assert start("a", "made again") == {"a": {0: 0}}
    assert start.begun_again() == {"begun-again/a": 1}


def test_a_gap_that_was_accepted_when_the_driver_died_can_be_accepted_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise DriverDied

    start.read("a", up_to=40)
    for place, name in ((checkpoint, "set_aside"), (beginning, "_pass_over")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, die)
            with pytest.raises(DriverDied):
                start("a", "the disk was restored")
    assert list(direct_read.ledger_entries(start.settings, INVENTORY_EVENTS.table)) == []
    assert start("a", "the disk was restored") == {"a": {0: 30}}
    assert not start.saved.exists()


def test_what_was_lost_before_the_first_batch_is_a_gap(start: Start) -> None:
    start.begin({"a": {0: 0}})
    assert start("a") == {"a": {0: 0}}
    start.logs["a"] = TopicLog("id/a", {0: 25}, {0: 30})
    with pytest.raises(SourceHasGap, match="Bronze ended at offset 0, but the log begins at 25"):
        start("a")
    assert start("a", "the registry was down for too long") == {"a": {0: 25}}
    assert not start.saved.exists()
    (entry,) = direct_read.ledger_entries(start.settings, INVENTORY_EVENTS.table)
    assert (entry.kind, entry.reason) == ("gap", "the registry was down for too long")
    assert [(one.partition, one.from_offset, one.to_offset) for one in entry.ranges] == [(0, 0, 25)]
    assert start("a") == {"a": {0: 25}}


def test_behind_a_gap_before_the_first_batch_no_partition_is_a_new_one(start: Start) -> None:
    """Partition 0 lost its beginning, 1 did not, and 2 was added since."""
    start.begin({"a": {0: 0, 1: 3}})
    start.logs["a"] = TopicLog("id/a", {0: 25, 1: 3, 2: 0}, {0: 30, 1: 30, 2: 30})
    for reason in ("too late", ""):
        assert start("a", reason, keeps_partitions=True) == {"a": {0: 25, 1: 3, 2: 0}}
    assert {place.partition: position for place, position in start.held().items()} == {0: 25, 1: 3, 2: 0}


def test_a_topic_that_was_made_again_before_the_first_batch_is_read_from_its_beginning(start: Start) -> None:
    start.begin({"a": {0: 300}})
    with pytest.raises(SourceHasGap, match="Bronze ended at offset 300, and the topic was deleted and made again"):
        start("a")
    for reason in ("made again", ""):
        assert start("a", reason) == {"a": {0: 0}}
    assert start.held() == {Place("a", "id/a", 0): 0}


def test_another_topic_before_the_first_batch_has_to_be_accepted(start: Start) -> None:
    start.begin({"b": {0: 0}})
    start.logs["a"] = TopicLog("id/a", {0: 25}, {0: 30})
    with pytest.raises(SourceHasGap, match="the stream does not read this topic any more"):
        start("a")
    assert start("a", "the name was wrong") is None
    assert not start.saved.exists()


def test_a_gap_before_the_first_batch_is_still_known_when_the_driver_died_over_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise DriverDied

    start.begin({"a": {0: 0}})
    start.logs["a"] = TopicLog("id/a", {0: 25}, {0: 30})
    for place, name in ((checkpoint, "set_aside"), (beginning, "_pass_over")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, die)
            with pytest.raises(DriverDied):
                start("a", "too late")
    assert not start.saved.exists()
    with pytest.raises(SourceHasGap, match="Bronze ended at offset 0, but the log begins at 25"):
        start("a")
    assert start("a", "too late") == {"a": {0: 25}}
    assert len(list(direct_read.ledger_entries(start.settings, INVENTORY_EVENTS.table))) == 1


def test_a_checkpoint_with_batches_that_bronze_does_not_hold_is_left_to_the_writer(start: Start) -> None:
    start.begin({"a": {0: 0}})
    for folder, text in (("offsets", 'v1\n{}\n{"a": {"0": 22}}'), ("commits", "v1\n{}")):
        (start.saved / folder).mkdir()
        (start.saved / folder / "0").write_text(text, "utf-8")
    start.logs["a"] = TopicLog("id/a", {0: 25}, {0: 30})
    assert start("a") is None


def test_the_gaps_of_all_streams_are_told_at_once(start: Start) -> None:
    """Of three streams: one with a gap in Bronze, one with a gap before its first batch, one without a table yet."""
    events = replace(inventory_events.stream(start.settings), topics=("a",))
    markers = replace(events, spec=SOURCE_MARKERS, topics=("b",))
    clicks = replace(events, spec=CLICK_EVENTS, topics=("c",))
    start.logs["c"] = TopicLog("id/c", {0: 7}, {0: 9})
    start.read("a", up_to=22)
    beginning.require_no_gaps(start.spark, start.settings, (events, markers, clicks))
    start.saved = Path(checkpoint.location(SOURCE_MARKERS, start.settings))
    start.begin({"b": {0: 0}})
    start.logs |= {"a": TopicLog("id/a", {0: 25}, {0: 30}), "b": TopicLog("id/b", {0: 5}, {0: 9})}
    with pytest.raises(SourceHasGap) as refused:
        beginning.require_no_gaps(start.spark, start.settings, (events, markers, clicks))
    told = str(refused.value)
    assert "source of inventory_events: a/0: Bronze ended at offset 22, but the log begins at 25" in told
    assert "; and in the source of source_markers: b/0: Bronze ended at offset 0, but the log begins at 5" in told
    assert "click_events" not in told


class AlertsStart:
    """Starts the query without a ledger on the topic `a`; a run commits what it read to a checkpoint as Spark does."""

    def __init__(self, spark: SparkSession, settings: Settings, start: Start) -> None:
        self.spark, self.settings, self.start = spark, settings, start
        self.saved = Path(checkpoint.location(ALERTS, settings))
        delta_io.ensure(spark, ALERTS, settings)

    def __call__(self) -> Offsets | None:
        return beginning.behind_losses(self.spark, self.settings, ALERTS, "a")

    def read(self, up_to: int) -> None:
        for folder in ("offsets", "commits"):
            (self.saved / folder).mkdir(parents=True, exist_ok=True)
        (self.saved / "metadata").write_text('{"id": "q"}', "utf-8")
        (self.saved / "offsets" / "0").write_text(f'v1\n{{}}\n{{"a": {{"0": {up_to}}}}}', "utf-8")
        (self.saved / "commits" / "0").write_text("v1\n{}", "utf-8")

    def remake(self, end: int) -> None:
        self.start.logs["a"] = TopicLog("another/id", {0: 0}, {0: end})


@pytest.fixture
def alerts(spark: SparkSession, settings: Settings, start: Start) -> AlertsStart:
    return AlertsStart(spark, settings, start)


@pytest.mark.parametrize("end", [9, 22, 80])
def test_a_query_without_a_ledger_reads_a_topic_that_was_made_again_from_its_beginning(
    alerts: AlertsStart, end: int
) -> None:
    assert alerts() is None
    alerts.read(up_to=22)
    assert alerts() is None
    alerts.remake(end)
    assert alerts() == {"a": {0: 0}}
    assert not alerts.saved.exists()
    alerts.read(up_to=5)
    assert alerts() is None


def test_a_query_without_a_ledger_passes_over_what_was_lost_before_its_first_batch(
    alerts: AlertsStart, start: Start
) -> None:
    start.saved = alerts.saved
    start.begin({"a": {0: 0}})
    assert alerts() is None
    start.logs["a"] = TopicLog("id/a", {0: 25}, {0: 30})
    assert alerts() == {"a": {0: 25}}
    assert not alerts.saved.exists()


def test_a_query_of_before_topics_were_remembered_goes_on_and_remembers_its_topic_once(alerts: AlertsStart) -> None:
    alerts.read(up_to=22)
    before = delta_io.version(alerts.spark, ALERTS, alerts.settings)
    assert [alerts(), alerts()] == [None, None]
    assert delta_io.version(alerts.spark, ALERTS, alerts.settings) == before + 1


def test_a_query_whose_driver_died_after_it_set_its_checkpoint_aside_begins_at_the_new_topic(
    alerts: AlertsStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise DriverDied

    alerts()
    alerts.read(up_to=22)
    alerts.remake(end=80)
    with monkeypatch.context() as patch:
        patch.setattr(Append, "commit", die)
        with pytest.raises(DriverDied):
            alerts()
    assert not alerts.saved.exists()
    assert alerts() == {"a": {0: 0}}


def test_a_checkpoint_that_can_not_be_moved_away_stops_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    refuses = SimpleNamespace(rename=lambda *_: False)
    monkeypatch.setattr(checkpoint, "_file", lambda _, path: (path, refuses))
    spark: Any = None
    with pytest.raises(checkpoint.CheckpointStays, match="could not be renamed"):
        checkpoint.set_aside(spark, "/checkpoints/bronze/a")
