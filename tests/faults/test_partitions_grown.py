"""A change topic that got more partitions: the changes of one key are in two of them, so the stream stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from inventory_topic import InventoryTopic, bronze_ids
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

from lakehouse import direct_read, lease
from lakehouse.kafka_config import client_config
from lakehouse.settings import Settings
from lakehouse.tables import HEARTBEATS
from streaming import beginning, changes, quarantine_standing, queries
from streaming.continuity import PartitionsGrew
from streaming.writer_schemas import Registry

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class ChangeTopic:
    """The topic of one captured table, apart from those of all other tests."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stream = changes.stream(HEARTBEATS, settings)
        self.name = HEARTBEATS.topic(settings)
        self._admin = AdminClient(client_config(settings))
        self.create(1)

    def create(self, partitions: int) -> None:
        self._admin.create_topics([NewTopic(self.name, num_partitions=partitions)])[self.name].result(timeout=30)

    def delete(self) -> None:
        self._admin.delete_topics([self.name])[self.name].result(timeout=30)

    def grow(self, partitions: int) -> None:
        self._admin.create_partitions([NewPartitions(self.name, partitions)])[self.name].result(timeout=30)

    def send(self, partition: int = 0) -> None:
        """A record that goes to the quarantine: its place is all that matters."""
        producer = Producer(client_config(self.settings))
        producer.produce(self.name, b"no envelope", b"k", partition=partition)
        assert producer.flush(60) == 0

    def taken(self) -> list[int]:
        """The partition of each record that came, sorted."""
        connection = quarantine_standing.connect(self.settings, self.stream.spec.table)
        assert connection is not None
        return sorted(row[0] for row in direct_read.rows(connection, "select _partition from standing"))

    def catch_up(self, spark: SparkSession, accepted: str = "") -> None:
        registry = Registry(self.settings, threading.Event())
        with lease.hold(queries.lease_of(self.stream), self.settings) as held:
            query = queries.start(spark, self.settings, self.stream, registry, held, True, accepted)
            query.awaitTermination()


@pytest.fixture
def topic(
    spark: SparkSession,
    stack: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> ChangeTopic:
    """A topic of one partition with one batch in Bronze."""
    name = request.node.name.removeprefix("test_")[:60]
    home = tmp_path_factory.mktemp("grown")
    topic = ChangeTopic(stack.model_copy(update={"home": home, "source_topic_prefix": name}))
    topic.send()
    topic.catch_up(spark)
    return topic


def test_a_new_partition_stops_the_stream_at_its_start(spark: SparkSession, topic: ChangeTopic) -> None:
    topic.grow(2)
    with pytest.raises(PartitionsGrew, match=rf"new partitions: {topic.name}/1"):
        topic.catch_up(spark)


def test_a_new_partition_is_seen_by_the_next_batch(
    spark: SparkSession, topic: ChangeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.grow(2)
    topic.send(partition=1)
    # As for a driver that runs already.
    monkeypatch.setattr(beginning, "of", lambda *_: None)
    with pytest.raises(StreamingQueryException, match="PartitionsGrew: The topic of heartbeats_changes has new"):
        topic.catch_up(spark)


def test_a_topic_that_was_made_again_may_have_more_partitions(spark: SparkSession, topic: ChangeTopic) -> None:
    topic.delete()
    topic.create(2)
    topic.send(partition=1)
    topic.catch_up(spark, "made again with two partitions, and a new snapshot")
    assert topic.taken() == [0, 1]
    topic.send(partition=0)
    topic.catch_up(spark)
    assert topic.taken() == [0, 0, 1]


def test_events_are_taken_from_new_partitions(
    spark: SparkSession, stack: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = {"home": tmp_path_factory.mktemp("grown"), "inventory_topic": "grown.events"}
    topic = InventoryTopic(stack.model_copy(update=settings), partitions=1)
    topic.send(5)
    queries.catch_up(spark, topic.settings, "inventory")
    admin = AdminClient(client_config(stack))
    admin.create_partitions([NewPartitions(topic.name, 3)])[topic.name].result(timeout=30)
    topic.send(20)
    queries.catch_up(spark, topic.settings, "inventory")
    assert bronze_ids(topic.settings) == topic.good


@pytest.fixture(autouse=True)
def _leave_no_query(spark: SparkSession) -> Iterator[None]:
    yield
    for query in spark.streams.active:
        query.stop()
