"""A warehouse on S3: a stream writes it under its lease, a second driver does not start, a lost lease commits nothing.

On the real S3-compatible server and Kafka.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from inventory_topic import InventoryTopic
from pyspark.sql import SparkSession

from lakehouse import direct_read, lease, night_step
from lakehouse.errors import LeaseHeld
from lakehouse.object_store import s3_client
from lakehouse.session import point_at_store
from lakehouse.settings import PREFIX, Settings
from streaming import inventory_events, queries
from streaming.writer_schemas import Registry

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]
FOLDER = "lake"
LONG_STEP = """
from datetime import date
from lakehouse.night_step import run_steps
from lakehouse.session import build_session
from lakehouse.settings import load_settings
from lakehouse.spark_conf import short_lived, spark_conf

def step(spark, *_):
    print("running", flush=True)
    return spark.range(10**15).selectExpr("sum(hash(id))").first()[0]

settings = load_settings()
spark = build_session(settings, "long-step", short_lived(spark_conf(settings)))
run_steps(spark, settings, {"silver": step}, date(2026, 11, 23), "night-1")
"""
LEASE_KEY = f"{FOLDER}/_leases/stream-inventory_events.json"


@pytest.fixture(scope="module")
def topic(spark: SparkSession, stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> InventoryTopic:
    """Thirty events, and tables in the landing bucket."""
    uri = f"s3a://{stack.landing_bucket}/{FOLDER}"
    own = {"home": tmp_path_factory.mktemp("on-s3"), "warehouse_uri": uri, "inventory_topic": "on-s3.events"}
    settings = stack.model_copy(update=own)
    point_at_store(spark, settings)
    topic = InventoryTopic(settings)
    topic.send(30, poison_every=10)
    return topic


def rows_in_bronze(settings: Settings) -> int:
    connection = direct_read.connect(settings, "bronze.inventory_events")
    return int(direct_read.rows(connection, 'select count(*) from "bronze"."inventory_events"')[0][0])


def versions(settings: Settings) -> list[int]:
    """The newest commits of Bronze and of the quarantine."""
    tables = [
        direct_read.open_table(settings, name)
        for name in ("bronze.inventory_events", "ops.quarantine/inventory_events")
    ]
    return [table.version() for table in tables if table]


def test_a_second_driver_is_refused_before_it_starts_anything(spark: SparkSession, topic: InventoryTopic) -> None:
    with lease.hold("stream-inventory_events", topic.settings):
        with pytest.raises(LeaseHeld, match=r"stream-inventory_events \(process \d+ on "):
            queries.catch_up(spark, topic.settings, "inventory")
        with pytest.raises(LeaseHeld):
            queries.run(topic.settings, "inventory", until_caught_up=True)
    assert versions(topic.settings) == []


def test_the_stream_writes_there_and_gives_the_lease_back(spark: SparkSession, topic: InventoryTopic) -> None:
    queries.catch_up(spark, topic.settings, "inventory")
    assert rows_in_bronze(topic.settings) == sum(topic.good.values())
    assert not lease.is_held("stream-inventory_events", topic.settings)


def test_a_driver_that_lost_its_lease_commits_nothing_more(spark: SparkSession, topic: InventoryTopic) -> None:
    settings = topic.settings
    topic.send(30, poison_every=10)
    before = versions(settings)
    with pytest.raises(Exception, match="has lost the lease stream-inventory_events"):
        run_and_lose(spark, settings)
    assert versions(settings) == before
    queries.catch_up(spark, settings, "inventory")
    assert rows_in_bronze(settings) == sum(topic.good.values())


def run_and_lose(spark: SparkSession, settings: Settings) -> None:
    stream = inventory_events.stream(settings)
    with lease.hold(queries.lease_of(stream), settings) as held:
        s3_client(settings).delete_object(Bucket=settings.landing_bucket, Key=LEASE_KEY)
        registry = Registry(settings, threading.Event())
        queries.start(spark, settings, stream, registry, held, until_caught_up=True).awaitTermination()


def test_two_nights_do_not_run_a_step_at_once(
    topic: InventoryTopic, monkeypatch: pytest.MonkeyPatch, spark: SparkSession
) -> None:
    monkeypatch.setattr(night_step, "WAIT_SECONDS", 0)
    with lease.hold(night_step.LEASE, topic.settings), pytest.raises(LeaseHeld, match="night-steps"):
        night_step.run_steps(spark, topic.settings, {"silver": None}, None, "night-1")  # type: ignore[arg-type]


def test_a_step_of_the_night_that_lost_its_lease_ends_at_once(topic: InventoryTopic) -> None:
    settings = topic.settings
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_STEP],
        env=os.environ | variables(settings) | {f"{PREFIX}LEASE_SECONDS": "4"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "running\n" in iter(process.stdout.readline, "")
        place = {"Bucket": settings.landing_bucket, "Key": f"{FOLDER}/_leases/{night_step.LEASE}.json"}
        s3_client(settings).delete_object(**place)
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "LeaseLost: This process has lost the lease night-steps" in told
    assert process.returncode == 1
    assert direct_read.open_table(settings, "ops.runs") is None


def variables(settings: Settings) -> dict[str, str]:
    own = ("home", "warehouse_uri", "s3_endpoint", "s3_region")
    secret = {name: getattr(settings, name).get_secret_value() for name in ("s3_access_key", "s3_secret_key")}
    found = {name: str(getattr(settings, name)) for name in own} | secret
    return {f"{PREFIX}{name.upper()}": value for name, value in found.items()}
