"""A driver of the clicks that is killed (`kill -9`) when it has written down what it took, before Bronze has it."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from inventory_topic import cli_process, log_of
from landing import DAY, Landing, body, own_topic
from pyspark.sql import SparkSession

from lakehouse import direct_read
from lakehouse.session import point_at_store
from lakehouse.settings import Settings
from streaming import queries
from streaming.ledger_verify import verify
from streaming.object_notifications import NotifiedObject
from streaming.object_reconciliation import reconcile

CONTENT = body("gone-1", "gone-2") + b'{"event_id": "gone\n'
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def settings(stack: Settings, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("clicks-crash")
    own = {"home": home, "click_objects_topic": "crash.click.objects", "landing_prefix": "crash/"}
    settings = stack.model_copy(update=own)
    own_topic(settings)
    point_at_store(spark, settings)
    return settings


@pytest.fixture(scope="module")
def gone(settings: Settings, spark: SparkSession) -> NotifiedObject:
    """An object that the first try of its batch read, a bad line in it, and that the second did not find."""
    landing = Landing(settings)
    gone = landing.put("gone.jsonl", CONTENT)
    landing.tell(gone, landing.put("stays.jsonl", body("stays-1")))
    arguments = ("stream", "clicks", "--short-lived", "--until-caught-up")
    killed = cli_process(settings, *arguments, kill_at="between_objects_and_bronze")
    assert killed.wait(timeout=300) == -signal.SIGKILL, log_of(settings)
    assert outcomes(settings) == {"gone.jsonl": "read", "stays.jsonl": "read"}
    assert list(direct_read.ledger_entries(settings, "click_events")) == []
    landing.remove(gone)
    queries.catch_up(spark, settings, "clicks")
    return gone


def outcomes(settings: Settings) -> dict[str, str]:
    connection = direct_read.connect(settings, "ops.click_objects")
    sql = """select split_part(address, '/', -1), outcome from "ops"."click_objects" """
    return dict(direct_read.rows(connection, sql))


def in_bronze(settings: Settings) -> Counter[str]:
    connection = direct_read.connect(settings, "bronze.click_events")
    return Counter(row[0] for row in direct_read.rows(connection, 'select event_id from "bronze"."click_events"'))


def differing(settings: Settings) -> list[str]:
    return [str(one) for one in verify(settings) if not one.agrees]


def test_the_register_says_what_bronze_says(settings: Settings, gone: NotifiedObject) -> None:
    assert in_bronze(settings) == {"stays-1": 1}
    assert outcomes(settings) == {"gone.jsonl": "missing_object", "stays.jsonl": "read"}
    assert differing(settings) == []


def test_the_bad_line_that_only_the_first_try_saw_is_in_the_ledger(settings: Settings, gone: NotifiedObject) -> None:
    (entry,) = direct_read.ledger_entries(settings, "click_events")
    assert entry.quarantined == {"missing_object": 1, "malformed_json": 1}
    assert (entry.rows_read, entry.rows_written, entry.vanished) == (3, 1, 1)


def test_an_object_that_is_put_back_is_announced_and_read_once(
    settings: Settings, spark: SparkSession, gone: NotifiedObject
) -> None:
    assert Landing(settings).put("gone.jsonl", CONTENT) == gone
    assert reconcile(settings, [DAY]).announced == 1
    queries.catch_up(spark, settings, "clicks")
    assert in_bronze(settings) == {"stays-1": 1, "gone-1": 1, "gone-2": 1}
    assert differing(settings) == []
