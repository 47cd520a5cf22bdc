"""A driver that is killed (`kill -9`) at the worst moments: no acknowledged record is lost, none is there twice."""

from __future__ import annotations

import shutil
import signal
from itertools import pairwise

import pytest
from deltalake import DeltaTable, QueryBuilder
from inventory_topic import InventoryTopic, bronze_ids, entries, log_of, quarantined, stream_process

from lakehouse.settings import Settings

# Six starts of Spark, one after the other on the same table.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("crash-points")
    return stack.model_copy(update={"home": home, "inventory_topic": "crash.events", "max_offsets_per_batch": 900})


def killed_at(settings: Settings, point: str) -> None:
    process = stream_process(settings, "--until-caught-up", kill_at=point)
    assert process.wait(timeout=600) == -signal.SIGKILL, log_of(settings)


@pytest.fixture(scope="module")
def topic(settings: Settings) -> InventoryTopic:
    """Each crash leaves the table to the next driver; the last one starts without its checkpoint and ends by itself."""
    topic = InventoryTopic(settings)
    topic.send(3_000, poison_every=50)
    killed_at(settings, "before_any_write:2")
    assert len(entries(settings)) == 1
    killed_at(settings, "while_writing_files")
    assert len(entries(settings)) == 1
    killed_at(settings, "after_bronze_commit:1")
    assert len(entries(settings)) == 2
    topic.send(2_000, poison_every=50)
    killed_at(settings, "between_targets:1")
    assert len(entries(settings)) == 2
    assert sum(quarantined(settings).values()) > sum(one.rows_quarantined for one in entries(settings))
    shutil.rmtree(settings.home / "checkpoints" / "bronze" / "inventory_events")
    last = stream_process(settings, "--until-caught-up")
    assert last.wait(timeout=600) == 0, log_of(settings)
    return topic


def test_every_acknowledged_event_is_in_bronze_once(settings: Settings, topic: InventoryTopic) -> None:
    assert bronze_ids(settings) == topic.good


def test_every_poison_record_is_in_the_quarantine_once(settings: Settings, topic: InventoryTopic) -> None:
    assert quarantined(settings) == {"bad_framing": topic.poison}


def test_the_ledger_covers_every_offset_once(settings: Settings, topic: InventoryTopic) -> None:
    found = entries(settings)
    assert all(one.balances for one in found)
    spans = sorted((one.partition, one.from_offset, one.to_offset) for entry in found for one in entry.ranges)
    for before, after in pairwise(spans):
        assert before[0] != after[0] or before[2] == after[1], f"gap or overlap between {before} and {after}"
    assert sum(one.rows_read for one in found) == sum(topic.good.values()) + topic.poison


def test_the_start_without_a_checkpoint_said_so(settings: Settings, topic: InventoryTopic) -> None:
    assert "checkpoint_is_missing" in (settings.home / "stream.log").read_text(errors="replace")


def test_no_file_of_a_killed_batch_is_read(settings: Settings, topic: InventoryTopic) -> None:
    written = list((settings.home / "warehouse" / "bronze" / "inventory_events").glob("*.parquet"))
    assert len(written) > len(entries(settings)), "the kill while files were written left none behind: too late"


def test_an_engine_that_is_not_ours_reads_what_the_stream_wrote(settings: Settings, topic: InventoryTopic) -> None:
    # delta-rs reads the files by itself here; elsewhere pyarrow does, which takes more forms of Parquet.
    table = DeltaTable(str(settings.home / "warehouse" / "bronze" / "inventory_events"))
    found = QueryBuilder().register("events", table).execute("select max(_offset), event_id from events group by 2")
    assert found.read_all().num_rows == len(topic.good)
