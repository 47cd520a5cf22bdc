"""What is delivered twice: stock events stay in Bronze as they arrived (Silver takes each once), an object is one
object.
"""

from __future__ import annotations

from random import Random

from confluent_kafka import Consumer, Producer, TopicPartition

from infra.breakage import promise, streams
from infra.breakage.ground import Ground, movements
from infra.demo.checks import Check
from infra.shop.faults import FaultSchedule
from infra.shop.history import stock_records
from infra.shop.opening import Shop
from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.settings import Settings

EVENTS = 500
TIMEOUT_SECONDS = 15.0


def run(ground: Ground) -> None:
    """Send both again, run the streams, say what is where. Raises `PromiseBroken`."""
    settings = ground.settings
    ground.say(f"Sends {EVENTS} stock events twice, and the newest notification of a click object once more.")
    for group in ("inventory", "clicks"):
        streams.catch_up_first(ground, group)
    with ground.shop() as shop:
        ids = send_twice(shop)
    key = notify_again(settings)
    ground.say(
        f"{len(ids)} event ids are on {settings.inventory_topic} twice, {key} on {settings.click_objects_topic}."
    )
    streams.catch_up(ground, "inventory")
    before = len(streams.entries(ground, "clicks"))
    streams.catch_up(ground, "clicks")
    dropped = sum(entry.redelivered for entry in streams.entries(ground, "clicks")[before:])
    found = promise.bronze_ids(settings)
    ground.say("Bronze keeps what arrived, each delivery at its own offset; Silver takes the newest level per product")
    ground.say(
        "and warehouse by `sequence`, to which a repeat adds nothing. An object that Bronze holds is not read again."
    )
    twice = Check("event ids of now that are in Bronze twice", len(ids), sum(found[one] == 2 for one in ids))
    again = Check("re-delivered objects that the ledger counts as dropped", 1, dropped)
    promise.require(ground, [twice, again], promise.inventory(settings), promise.clicks(settings))


def send_twice(shop: Shop) -> list[str]:
    """Send stock events, then all of them again in their order, so that the newest level is the same after both."""
    rng = Random(shop.seed_for("duplicate"))
    events = movements(shop, rng, EVENTS)
    records = stock_records(rng, events, FaultSchedule((), 0.0), shop.parts.events.inventory_encoder())
    for _ in range(2):
        shop.parts.events.send(shop.settings.inventory_topic, records, "inventory", shop.book)
    return [event["event_id"] for event in events]


def notify_again(settings: Settings) -> str:
    """Put the newest record of the notifications topic there once more, byte by byte; returns its key or a name.

    Raises `ServiceUnreachable` when the topic holds none, or the record was not taken.
    """
    topic = settings.click_objects_topic
    config = client_config(settings)
    consumer = Consumer(config | {"group.id": "lakehouse-break", "enable.auto.commit": False})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=TIMEOUT_SECONDS)
        consumer.assign([TopicPartition(topic, 0, max(end - 1, 0))])
        newest = consumer.poll(TIMEOUT_SECONDS)
    finally:
        consumer.close()
    if newest is None or newest.error():
        raise ServiceUnreachable(f"The topic {topic}", settings.kafka_bootstrap_servers, "Has a click object arrived?")
    producer = Producer(config)
    producer.produce(topic, newest.value(), newest.key())
    if producer.flush(TIMEOUT_SECONDS):
        raise ServiceUnreachable("Kafka", settings.kafka_bootstrap_servers, "Look at `lakehouse status`.")
    return "the notification at offset " + str(newest.offset())
