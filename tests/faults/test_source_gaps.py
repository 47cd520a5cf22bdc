"""When the source lost records, or the checkpoint is not the table's own, the stream stops and says so."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator

import pytest
from inventory_topic import InventoryTopic, bronze_ids, entries, quarantined
from pyspark.sql import SparkSession

from lakehouse import lease
from lakehouse.errors import LakehouseError, LeaseHeld
from lakehouse.kafka_offsets import TopicMissing
from lakehouse.settings import Settings
from lakehouse.tables import ALERTS
from streaming import beginning, bronze_writer, checkpoint, low_stock, queries
from streaming.continuity import SourceHasGap
from streaming.writer_schemas import Registry

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def topic(stack: Settings, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> InventoryTopic:
    """A topic with one batch in Bronze: 20 good events, 2 poison records, in one partition."""
    name = request.node.name.removeprefix("test_")[:60]
    settings = stack.model_copy(update={"home": tmp_path_factory.mktemp("gap"), "inventory_topic": f"gap.{name}"})
    topic = InventoryTopic(settings, partitions=1)
    topic.send(20, poison_every=10)
    return topic


@pytest.fixture
def streamed(spark: SparkSession, topic: InventoryTopic) -> InventoryTopic:
    queries.catch_up(spark, topic.settings, "inventory")
    return topic


def catch_up(spark: SparkSession, topic: InventoryTopic, accepted: str = "") -> None:
    queries.catch_up(spark, topic.settings, "inventory", accepted)


def checkpoint_folder(topic: InventoryTopic) -> str:
    return str(topic.settings.home / "checkpoints" / "bronze" / "inventory_events")


def assert_all_is_there_once(topic: InventoryTopic) -> None:
    assert bronze_ids(topic.settings) == topic.good
    assert sum(quarantined(topic.settings).values()) == topic.poison


def remake(topic: InventoryTopic) -> None:
    topic.delete()
    topic.create(partitions=1)


def test_retention_that_passed_the_position_stops_the_stream(spark: SparkSession, streamed: InventoryTopic) -> None:
    streamed.send(10)
    streamed.trim(before=25)
    with pytest.raises(SourceHasGap, match=r"Bronze ended at offset 22, but the log begins at 25"):
        catch_up(spark, streamed)
    assert len(entries(streamed.settings)) == 1


def test_an_accepted_gap_is_recorded_and_the_stream_goes_on(spark: SparkSession, streamed: InventoryTopic) -> None:
    streamed.send(10)
    streamed.trim(before=25)
    catch_up(spark, streamed, "the disk of broker 1 was lost")
    gap = next(one for one in entries(streamed.settings) if one.kind == "gap")
    assert [(one.from_offset, one.to_offset) for one in gap.ranges] == [(22, 25)]
    assert gap.reason == "the disk of broker 1 was lost"
    # Three of the ten are the gap.
    assert sum(bronze_ids(streamed.settings).values()) == 20 + 10 - 3
    assert entries(streamed.settings)[-1].ranges[0].from_offset == 25


def test_records_that_were_lost_before_the_first_batch_are_a_gap(
    spark: SparkSession, topic: InventoryTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: str) -> None:
        raise OSError("the driver was stopped")

    with monkeypatch.context() as patch:
        patch.setattr(bronze_writer, "reach", die)
        with pytest.raises(LakehouseError, match="the driver was stopped"):
            catch_up(spark, topic)
    topic.send(10)
    topic.trim(before=25)
    with pytest.raises(SourceHasGap, match=r"Bronze ended at offset 0, but the log begins at 25"):
        catch_up(spark, topic)
    catch_up(spark, topic, "the registry was down for longer than the retention")
    gap, batch = entries(topic.settings)
    assert [(one.from_offset, one.to_offset) for one in gap.ranges] == [(0, 25)]
    assert gap.reason == "the registry was down for longer than the retention"
    assert [(one.from_offset, one.to_offset) for one in batch.ranges] == [(25, 32)]
    assert sum(bronze_ids(topic.settings).values()) == 7


def test_the_low_stock_query_goes_on_behind_an_accepted_gap(spark: SparkSession, streamed: InventoryTopic) -> None:
    settings, registry = streamed.settings, Registry(streamed.settings, threading.Event())
    assert low_stock_position(spark, settings, registry) == 22
    streamed.send(10)
    streamed.trim(before=25)
    assert low_stock_position(spark, settings, registry) == 32


def low_stock_position(spark: SparkSession, settings: Settings, registry: Registry) -> int:
    """Run the query up to the end of its topic; the next offset that it then would read."""
    with lease.hold("stream-inventory_events", settings) as held:
        query = low_stock.start(spark, settings, registry, held)
        query.processAllAvailable()
        query.stop()
    saved = checkpoint.location(ALERTS, settings)
    return checkpoint.committed_positions(spark, saved)[settings.inventory_topic, 0]


def test_a_topic_that_was_made_again_and_is_longer_stops_the_stream(
    spark: SparkSession, streamed: InventoryTopic
) -> None:
    remake(streamed)
    streamed.send(40)
    with pytest.raises(SourceHasGap, match="deleted and made again"):
        catch_up(spark, streamed)
    catch_up(spark, streamed, "the topic was made again on purpose")
    assert_all_is_there_once(streamed)


def test_a_topic_that_was_made_again_while_the_stream_runs_is_seen_by_the_next_batch(
    spark: SparkSession, streamed: InventoryTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    remake(streamed)
    streamed.send(40)
    # As for a driver that looked before: what it sees at its start is in order.
    monkeypatch.setattr(beginning, "of", lambda *_: None)
    monkeypatch.setattr(beginning, "require_no_gaps", lambda *_: None)
    with pytest.raises(LakehouseError, match="deleted and made again"):
        catch_up(spark, streamed)
    assert len(entries(streamed.settings)) == 1


def test_a_topic_that_was_made_again_and_is_shorter_stops_the_stream(
    spark: SparkSession, streamed: InventoryTopic
) -> None:
    remake(streamed)
    streamed.send(5)
    with pytest.raises(SourceHasGap, match="deleted and made again"):
        catch_up(spark, streamed)
    assert len(entries(streamed.settings)) == 1


def test_a_lost_checkpoint_begins_where_bronze_ended(spark: SparkSession, streamed: InventoryTopic) -> None:
    shutil.rmtree(checkpoint_folder(streamed))
    streamed.send(10, poison_every=5)
    catch_up(spark, streamed)
    assert_all_is_there_once(streamed)
    assert len(entries(streamed.settings)) == 2


def test_a_checkpoint_restored_from_a_backup_stops_the_stream(spark: SparkSession, streamed: InventoryTopic) -> None:
    folder = checkpoint_folder(streamed)
    shutil.copytree(folder, f"{folder}-backup")
    streamed.send(10)
    catch_up(spark, streamed)
    shutil.rmtree(folder)
    shutil.move(f"{folder}-backup", folder)
    streamed.send(10)
    with pytest.raises(LakehouseError, match="Was it restored from a backup"):
        catch_up(spark, streamed)
    # The cure of the message.
    shutil.rmtree(folder)
    catch_up(spark, streamed)
    assert_all_is_there_once(streamed)


def test_a_checkpoint_of_another_table_is_refused(spark: SparkSession, streamed: InventoryTopic) -> None:
    other = streamed.settings.model_copy(update={"home": streamed.settings.home / "other"})
    other_folder = other.home / "checkpoints" / "bronze" / "inventory_events"
    shutil.copytree(checkpoint_folder(streamed), other_folder)
    streamed.send(5)
    with pytest.raises(LakehouseError, match="Bronze holds nothing and the checkpoint is at batch 1"):
        queries.catch_up(spark, other, "inventory")


def test_another_topic_in_the_settings_is_refused(spark: SparkSession, streamed: InventoryTopic) -> None:
    other = InventoryTopic(streamed.settings.model_copy(update={"inventory_topic": f"{streamed.name}-2"}), 1)
    other.send(5)
    with pytest.raises(SourceHasGap, match="does not read this topic any more"):
        catch_up(spark, other)


def test_settings_that_come_back_to_a_topic_double_nothing(spark: SparkSession, streamed: InventoryTopic) -> None:
    other = InventoryTopic(streamed.settings.model_copy(update={"inventory_topic": f"{streamed.name}-3"}), 1)
    catch_up(spark, other, "by mistake")
    streamed.send(10)
    catch_up(spark, streamed, "back again")
    assert_all_is_there_once(streamed)


def test_a_second_driver_of_one_table_refuses_to_start(spark: SparkSession, topic: InventoryTopic) -> None:
    with lease.hold("stream-inventory_events", topic.settings), pytest.raises(LeaseHeld, match="Stop it first"):
        catch_up(spark, topic)


def test_a_topic_that_does_not_exist_is_named(spark: SparkSession, topic: InventoryTopic) -> None:
    settings = topic.settings.model_copy(update={"inventory_topic": "nobody.made.this"})
    with pytest.raises(TopicMissing, match=r"has no topic nobody.made.this"):
        queries.catch_up(spark, settings, "inventory")


@pytest.fixture(autouse=True)
def _leave_no_query(spark: SparkSession) -> Iterator[None]:
    yield
    for query in spark.streams.active:
        query.stop()
