"""`kill -9` of a stream in full flow: the next one loses nothing and repeats nothing."""

from __future__ import annotations

import os
import signal

from infra.breakage import promise, streams
from infra.breakage.ground import Ground, send
from infra.demo.checks import Check
from infra.shop.faults import INVENTORY_REASONS

EVENTS, BATCH, BATCHES_BEFORE = 6_000, 500, 2
BAD_SHARE = 0.02


def run(ground: Ground) -> None:
    """Send some thousand events, kill the stream between them, start it again, compare. Raises `PromiseBroken`."""
    ground.say(f"Sends {EVENTS:,} stock events, and kills the stream (kill -9) after {BATCHES_BEFORE} small batches.")
    streams.catch_up_first(ground, "inventory")
    with ground.shop() as shop:
        sent = send(shop, EVENTS, INVENTORY_REASONS, BAD_SHARE)
    ground.say(f"The broker acknowledged {sent:,} records. A stream that would run for ever reads them:")
    read = kill_in_full_flow(ground)
    ground.say(f"Killed: {read:,} of {sent:,} records are committed. The next stream goes on:")
    streams.catch_up(ground, "inventory")
    in_flow = Check("the kill came while records were still waiting", True, 0 < read < sent)
    promise.require(ground, [in_flow], promise.inventory(ground.settings))


def kill_in_full_flow(ground: Ground) -> int:
    """Start a stream of small batches, kill its process group after some; returns the records in its commits."""
    before = len(streams.entries(ground, "inventory"))
    child = streams.start(ground, "inventory", LAKEHOUSE_MAX_OFFSETS_PER_BATCH=str(BATCH))
    try:
        child.wait_for(lambda: len(streams.entries(ground, "inventory")) >= before + BATCHES_BEFORE, streams.SECONDS)
    finally:
        # Its own session: the driver and its JVM, nothing else.
        os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        child.record.forget()
    streams.tell_entries(ground, "inventory", before)
    return sum(entry.rows_read for entry in streams.entries(ground, "inventory")[before:])
