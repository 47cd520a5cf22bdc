"""A producer that begins to write in transactions: its markers use up offsets, and what it aborted is never seen."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from inventory_topic import InventoryTopic, bronze_ids, entries
from kafka_rows import framed, stock_event
from pyspark.sql import SparkSession

from lakehouse.contracts.declared import inventory_schema
from lakehouse.kafka_config import client_config
from lakehouse.kafka_offsets import RecordsNotReadable, committed_records
from lakehouse.ledger_entry import OffsetRange
from lakehouse.settings import Settings
from streaming import queries
from streaming.ledger_verify import verify

pytestmark = [pytest.mark.integration, pytest.mark.slow]
COMMITTED, MARKERS_AND_ABORTED, PLAIN = (0, 6), (6, 10), (10, 12)


@pytest.fixture(scope="module")
def topic(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> InventoryTopic:
    """Five events and the marker of their commit; three and that of their abort; two without a transaction."""
    settings = stack.model_copy(
        update={"home": tmp_path_factory.mktemp("tx"), "inventory_topic": "transactional.events"}
    )
    topic = InventoryTopic(settings, partitions=1)
    producer = Producer(client_config(settings) | {"transactional.id": "producer-of-test"})
    producer.init_transactions(30)
    for name, events, is_kept in (("kept", 5, True), ("aborted", 3, False)):
        producer.begin_transaction()
        for number in range(events):
            event = framed(inventory_schema(), stock_event(event_id=f"{name}-{number}"), topic.schema_id)
            producer.produce(topic.name, event, key="P1")
            topic.good[f"{name}-{number}"] += is_kept
        producer.flush(30)
        (producer.commit_transaction if is_kept else producer.abort_transaction)(30)
    topic.good = +topic.good
    topic.send(2)
    return topic


def counted(topic: InventoryTopic, *spans: tuple[int, int]) -> list[int]:
    ranges = [OffsetRange(topic.name, 0, *span) for span in spans]
    found = committed_records(topic.settings, ranges)
    return [found[one] for one in ranges]


def test_a_second_client_sees_what_was_committed(topic: InventoryTopic) -> None:
    assert counted(topic, COMMITTED, MARKERS_AND_ABORTED, PLAIN) == [5, 0, 2]


def test_every_committed_event_lands_and_the_other_offsets_are_holes(
    spark: SparkSession, topic: InventoryTopic
) -> None:
    queries.catch_up(spark, topic.settings, "inventory")
    assert bronze_ids(topic.settings) == topic.good
    assert [(one.rows_promised, one.rows_read, one.offset_holes) for one in entries(topic.settings)] == [(12, 7, 5)]
    assert [str(one) for one in verify(topic.settings) if not one.agrees] == []


def test_records_that_retention_removed_are_not_counted_as_none(topic: InventoryTopic) -> None:
    topic.trim(before=3)
    with pytest.raises(RecordsNotReadable):
        counted(topic, COMMITTED)
    assert counted(topic, PLAIN) == [2]
