"""Bad stock events of every kind between good ones: each is in the quarantine with its reason, and nothing stops."""

from __future__ import annotations

from infra.breakage import promise, streams
from infra.breakage.ground import Ground, send
from infra.demo import processes
from infra.shop.faults import INVENTORY_REASONS

# Bytes behind the record: what most readers pass over in silence.
REASONS = (*INVENTORY_REASONS, "trailing_bytes")
GOOD, BAD_OF_EACH = 300, 3


def run(ground: Ground) -> None:
    """Send them, run the stream, compare. Raises `PromiseBroken`, or what the stream raises."""
    bad = len(REASONS) * BAD_OF_EACH
    topic = ground.settings.inventory_topic
    ground.say(f"Sends {GOOD} stock events to {topic}, and {bad} bad records of {len(REASONS)} kinds between.")
    with ground.shop() as shop:
        sent = send(shop, GOOD, REASONS, (bad + 0.5) / GOOD)
    ground.say(f"The broker acknowledged {sent} records. The stream reads them:")
    streams.catch_up(ground, "inventory")
    ground.say("  $ lakehouse quarantine list")
    processes.call(ground.settings.home, "quarantine", "list")
    promise.require(ground, promise.inventory(ground.settings))
