"""Records that leave the topic before the stream has read them: it stops and says so, until someone accepts the gap.

The lost records are strangers to the shop's account, which keeps only what should still be there: so the next demo
compares equal again. The accepted gap stays in the ledger of this home for ever.
"""

from __future__ import annotations

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.breakage import promise, streams
from infra.breakage.ground import Ground, send
from infra.demo import alerts
from infra.demo.checks import Check
from infra.shop.account import read_account
from lakehouse.errors import LakehouseError, ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.kafka_offsets import end_offsets
from lakehouse.ledger_entry import OffsetRange
from lakehouse.settings import Settings

LOST, GOOD = 250, 200
PARTITION = 0
REASON = "lakehouse break trim removed them"
TIMEOUT_SECONDS = 30.0


class LowStockIsBehind(LakehouseError):
    """The partition's older records leave with the new ones; another reader still needs them."""

    def __init__(self, missing: int) -> None:
        super().__init__(
            f"{missing} low-stock alerts of this shop were not raised yet, so the low-stock query still needs records "
            "that this would delete. Nothing was touched; let `lakehouse stream inventory` run until it has raised "
            "them (`make demo` does), then break it."
        )


def run(ground: Ground) -> None:
    """Lose records, see the stream stop, accept the gap, compare. Raises `PromiseBroken`, `LowStockIsBehind`."""
    settings = ground.settings
    if missing := alerts.missing_alerts(settings, read_account(settings)):
        raise LowStockIsBehind(len(missing))
    ground.say(
        f"Puts {LOST} records on {settings.inventory_topic}/{PARTITION} and deletes them before the stream has read "
        "them. The gap that you then see accepted stays in this home's ledger, until `lakehouse reset`."
    )
    streams.catch_up_first(ground, "inventory")
    lost = lose_records(settings)
    with ground.shop() as shop:
        sent = send(shop, GOOD)
    ground.say(f"Offsets {lost.from_offset} to {lost.to_offset} are gone; {sent} good events came after them.")
    before = len(streams.entries(ground, "inventory"))
    stopped = streams.run(ground, "inventory")
    ground.say(f"  exit code {stopped.code}: {stopped.sentence}")
    written = len(streams.entries(ground, "inventory")) - before
    ground.say("Nobody can bring them back, so somebody says so and why:")
    streams.catch_up(ground, "inventory", "--accept-gap", REASON)
    gaps = [
        one for entry in streams.entries(ground, "inventory")[before:] if entry.kind == "gap" for one in entry.ranges
    ]
    seen = [
        Check("exit code of the stream that met the gap", 1, stopped.code),
        Check("its sentence names the gap", True, f"Bronze ended at offset {lost.from_offset}" in stopped.sentence),
        Check("ledger entries that it wrote", 0, written),
        Check("offsets that the ledger records as lost", [lost], gaps),
    ]
    promise.require(ground, seen, promise.inventory(settings))


def lose_records(settings: Settings) -> OffsetRange:
    """Put records at the end of a partition and delete them; returns the offsets that are gone.

    Raises `ServiceUnreachable` when some were not taken.
    """
    topic, config = settings.inventory_topic, client_config(settings)
    begin = end_offsets(settings, [topic])[topic, PARTITION]
    producer = Producer(config)
    for _ in range(LOST):
        producer.produce(topic, b"lost before it was read", partition=PARTITION)
    if producer.flush(TIMEOUT_SECONDS):
        raise ServiceUnreachable("Kafka", settings.kafka_bootstrap_servers, "Look at `lakehouse status`.")
    end = end_offsets(settings, [topic])[topic, PARTITION]
    # Held by a name: a client that is collected takes its answers with it.
    admin = AdminClient({**config})
    for future in admin.delete_records([TopicPartition(topic, PARTITION, end)]).values():
        future.result(timeout=TIMEOUT_SECONDS)
    return OffsetRange(topic, PARTITION, begin, end)
