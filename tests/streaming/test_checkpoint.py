"""A checkpoint as Spark 4 writes it, kept here as text: a later version of the code has to read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakehouse.ledger_entry import OffsetRange
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS
from streaming import checkpoint

BATCH = (
    'v1\n{"batchWatermarkMs":0,"batchTimestampMs":1795782918071,"conf":{"spark.sql.shuffle.partitions":"4",'
    '"spark.sql.streaming.stateStore.providerClass":'
    '"org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider"}}\n'
)
DONE = 'v1\n{"nextBatchWatermarkMs":0}'
FILES = {
    "metadata": '{"id":"2ed521eb-0c6f-40a0-be21-33154abcac22"}',
    # Spark writes a zero byte ahead of the first offsets of a Kafka source.
    "sources/0/0": '\0v1\n{"inventory.events":{"0":3,"1":0}}',
    "offsets/0": BATCH + '{"inventory.events":{"0":10,"1":4}}',
    "commits/0": DONE,
    "offsets/1": BATCH + '{"inventory.events":{"0":10,"1":9,"2":2}}',
    "commits/1": DONE,
    "offsets/2": BATCH + '{"inventory.events":{"0":25,"1":9,"2":2}}',
}


@pytest.fixture
def saved(settings: Settings) -> str:
    """Two batches that are done, and one that was promised."""
    folder = Path(checkpoint.location(INVENTORY_EVENTS, settings))
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    (folder / "commits" / ".1.tmp").write_text("", "utf-8")
    return str(folder)


def test_a_checkpoint_of_today_names_its_query(spark: SparkSession, saved: str) -> None:
    assert checkpoint.exists(spark, saved)
    assert checkpoint.query_id(spark, saved) == "2ed521eb-0c6f-40a0-be21-33154abcac22"


def test_the_first_batch_begins_where_the_source_began(spark: SparkSession, saved: str) -> None:
    assert checkpoint.promised_ranges(spark, saved, 0) == (
        OffsetRange("inventory.events", 0, 3, 10),
        OffsetRange("inventory.events", 1, 0, 4),
    )


def test_a_later_batch_begins_where_the_one_before_it_ended(spark: SparkSession, saved: str) -> None:
    assert checkpoint.promised_ranges(spark, saved, 1) == (
        OffsetRange("inventory.events", 0, 10, 10),
        OffsetRange("inventory.events", 1, 4, 9),
        OffsetRange("inventory.events", 2, 0, 2),
    )


def test_a_batch_that_was_only_promised_is_not_done(spark: SparkSession, saved: str) -> None:
    assert checkpoint.promised_ranges(spark, saved, 2)[0] == OffsetRange("inventory.events", 0, 10, 25)
    assert checkpoint.committed_positions(spark, saved) == {
        ("inventory.events", 0): 10,
        ("inventory.events", 1): 9,
        ("inventory.events", 2): 2,
    }


def test_before_its_first_batch_a_checkpoint_tells_where_that_begins(spark: SparkSession, saved: str) -> None:
    shutil.rmtree(Path(saved) / "commits")
    assert checkpoint.committed_positions(spark, saved) == {}
    assert checkpoint.first_positions(spark, saved) == {("inventory.events", 0): 3, ("inventory.events", 1): 0}


def test_a_checkpoint_that_is_not_there_promises_nothing(spark: SparkSession, settings: Settings) -> None:
    nowhere = checkpoint.location(INVENTORY_EVENTS, settings)
    assert not checkpoint.exists(spark, nowhere)
    assert checkpoint.committed_positions(spark, nowhere) == checkpoint.first_positions(spark, nowhere) == {}


def test_a_checkpoint_that_is_set_aside_is_kept(spark: SparkSession, saved: str) -> None:
    kept = checkpoint.set_aside(spark, saved)
    assert not checkpoint.exists(spark, saved)
    assert {name: (Path(kept) / name).read_text("utf-8") for name in FILES} == FILES
