"""A collector that puts an object anew while its batch runs: the batch tells of one version alone, and balances."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from landing import Landing, body, own_topic
from pyspark.sql import DataFrame, SparkSession

from lakehouse import direct_read, lease
from lakehouse.session import point_at_store
from lakehouse.settings import Settings
from streaming import click_events, queries, rejected
from streaming.ledger_verify import verify
from streaming.object_notifications import NotifiedObject
from streaming.writer_schemas import Registry

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def settings(stack: Settings, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A topic, a prefix and a home of this test alone."""
    home: Path = tmp_path_factory.mktemp("put-anew")
    own = {"home": home, "click_objects_topic": "put.anew.objects", "landing_prefix": "put-anew/"}
    settings = stack.model_copy(update=own)
    own_topic(settings)
    point_at_store(spark, settings)
    return settings


def catch_up(spark: SparkSession, settings: Settings) -> None:
    stream = click_events.stream(settings)
    with lease.hold(queries.lease_of(stream), settings) as held:
        registry = Registry(settings, threading.Event())
        query = queries.start(spark, settings, stream, registry, held, until_caught_up=True)
        query.awaitTermination()


def test_an_object_that_is_put_anew_between_two_readings_of_its_batch(
    settings: Settings, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = Landing(settings)
    landing.tell(landing.put("hour.jsonl", body("a-1", "a-2") + b"no click\n"))
    anew: list[NotifiedObject] = []
    groups = rejected.by_name

    def put_anew(aside: DataFrame) -> list[rejected.Group]:
        # The good rows were read and written; the others are read now.
        if not anew:
            anew.append(landing.put("hour.jsonl", body("a-1", "a-2", "a-3")))
        return groups(aside)

    monkeypatch.setattr(rejected, "by_name", put_anew)
    catch_up(spark, settings)
    (first,) = direct_read.ledger_entries(settings, "click_events")
    assert first.objects["outcomes"] == {"overwritten_object": 1}
    assert (first.rows_read, first.rows_written, first.quarantined) == (1, 0, {"overwritten_object": 1})
    landing.tell(*anew)
    catch_up(spark, settings)
    connection = direct_read.connect(settings, "bronze.click_events")
    ids = direct_read.rows(connection, "select event_id from bronze.click_events order by event_id")
    assert ids == [("a-1",), ("a-2",), ("a-3",)]
    assert [str(one) for one in verify(settings, with_broker=False) if not one.agrees] == []
