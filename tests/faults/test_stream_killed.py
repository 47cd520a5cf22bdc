"""A stream that runs for ever and is killed (`kill -9`) in full flow loses and repeats nothing, at the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from inventory_topic import InventoryTopic, bronze_ids, entries, log_of, quarantined, stream_process

from lakehouse.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1200)]
EVENTS, BATCH = 12_000, 1_500


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Small batches from a topic of this test alone, into a home of its own."""
    home = tmp_path_factory.mktemp("killed")
    return stack.model_copy(update={"home": home, "inventory_topic": "killed.events", "max_offsets_per_batch": BATCH})


@pytest.fixture(scope="module")
def topic(settings: Settings) -> InventoryTopic:
    topic = InventoryTopic(settings)
    topic.send(EVENTS, poison_every=100)
    return topic


def wait_for_batches(settings: Settings, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while len(entries(settings)) < count:
        assert process.poll() is None, log_of(settings)
        assert time.monotonic() < deadline, "the stream committed no batch in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def batches_at_the_kill(settings: Settings, topic: InventoryTopic) -> int:
    """Kill the driver in the middle, then let a new one catch up."""
    process = stream_process(settings)
    wait_for_batches(settings, 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    batches = len(entries(settings))
    assert stream_process(settings, "--until-caught-up").wait(timeout=300) == 0, log_of(settings)
    return batches


def test_the_kill_came_in_full_flow(batches_at_the_kill: int) -> None:
    assert 2 <= batches_at_the_kill < EVENTS // BATCH


@pytest.mark.usefixtures("batches_at_the_kill")
def test_every_event_is_in_bronze_once(settings: Settings, topic: InventoryTopic) -> None:
    assert bronze_ids(settings) == topic.good


@pytest.mark.usefixtures("batches_at_the_kill")
def test_every_poison_record_is_in_the_quarantine_once(settings: Settings, topic: InventoryTopic) -> None:
    assert quarantined(settings) == {"bad_framing": topic.poison}
