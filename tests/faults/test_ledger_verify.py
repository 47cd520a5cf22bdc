"""`lakehouse ledger verify` agrees with a table that is in order, and names what somebody changed behind its back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner
from inventory_topic import TABLE, InventoryTopic, entries
from pyspark.sql import SparkSession

from lakehouse import direct_read
from lakehouse.ledger import project
from lakehouse.ledger_entry import Entry
from lakehouse.settings import Settings
from streaming import ledger_verify, queries
from streaming.commands import ledger

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def topic(spark: SparkSession, stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> InventoryTopic:
    """Three batches of good events and poison."""
    home = tmp_path_factory.mktemp("verify")
    settings = stack.model_copy(update={"home": home, "inventory_topic": "verified.events"})
    topic = InventoryTopic(settings)
    for _ in range(3):
        topic.send(50, poison_every=10)
        queries.catch_up(spark, settings, "inventory")
    return topic


def test_everything_agrees_with_what_was_acknowledged(topic: InventoryTopic) -> None:
    findings = {one.name: one for one in ledger_verify.verify(topic.settings)}
    assert [str(one) for one in findings.values() if not one.agrees] == []
    assert findings["inventory_events: rows written and rows in Bronze"].expected == sum(topic.good.values())
    assert findings["inventory_events: rows rejected and rows in the quarantine"].expected == topic.poison
    assert findings["inventory_events: batches counted again at the broker"].expected == 3


def test_the_ledger_is_printed_by_stream_and_day(topic: InventoryTopic) -> None:
    printed = CliRunner().invoke(ledger, obj=topic.settings).output
    line = next(line for line in printed.splitlines() if line.startswith("inventory_events"))
    assert line.split()[2:6] == ["3", str(150 + topic.poison), "150", str(topic.poison)]
    assert line.endswith("balances")


def test_the_projection_keeps_each_entry_once(spark: SparkSession, topic: InventoryTopic) -> None:
    for _ in range(2):
        assert project(spark, topic.settings).count() == 3
    projected = [entry for _, entry in direct_read._expired(topic.settings, TABLE, held=set())]

    def but_for_zones(entry: Entry) -> Entry:
        return replace(entry, first_event_at=None, last_event_at=None)

    assert list(map(but_for_zones, projected)) == list(map(but_for_zones, entries(topic.settings)))


def test_a_row_that_somebody_deleted_is_found(spark: SparkSession, topic: InventoryTopic) -> None:
    path = f"{topic.settings.warehouse}/bronze/inventory_events"
    spark.sql(f"alter table delta.`{path}` set tblproperties ('delta.appendOnly' = 'false')")
    spark.sql(f"delete from delta.`{path}` where event_id = 'e77'")
    outcome = CliRunner().invoke(ledger, ["verify", "--no-broker"], obj=topic.settings)
    assert "rows written and rows in Bronze: 150 DIFFERS FROM 149" in outcome.output
    assert "batches whose rows in Bronze differ: 0 DIFFERS FROM 1" in outcome.output
    assert isinstance(outcome.exception, ledger_verify.LedgerDiffers)
