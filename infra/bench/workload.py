"""The bench's input: inventory messages in Kafka and click objects in the landing bucket. Same seed, same bytes."""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import fastavro
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from lakehouse.contracts.declared import inventory_schema
from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config, registry_config
from lakehouse.object_store import s3_client
from lakehouse.settings import Settings
from streaming.framing import prefix_of

START = datetime.now(UTC) - timedelta(hours=1)
KINDS = ("page_view", "product_view", "add_to_cart", "checkout", "purchase")


def schema_id(settings: Settings) -> int:
    """The id of the inventory contract in the registry."""
    client = SchemaRegistryClient(registry_config(settings))
    return int(client.register_schema(f"{settings.inventory_topic}-value", Schema(inventory_schema(), "AVRO")))


def create_topic(settings: Settings, name: str) -> None:
    """A topic of three partitions for one comparison."""
    admin = AdminClient({**client_config(settings)})
    admin.create_topics([NewTopic(name, num_partitions=3)])[name].result(timeout=30)


def publish_at(settings: Settings, rate: int, seconds: int) -> int:
    """Put events of now on the inventory topic, evenly, `rate` each second; returns how many.

    Raises `ServiceUnreachable` when some were not taken.
    """
    producer = Producer(client_config(settings) | {"linger.ms": "0"})
    parsed = fastavro.parse_schema(json.loads(inventory_schema()))
    prefix = prefix_of(schema_id(settings))
    began, total = time.monotonic(), rate * seconds
    for number in range(total):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        body = io.BytesIO()
        fastavro.schemaless_writer(body, parsed, _event(number) | {"occurred_at": datetime.now(UTC)})
        producer.produce(settings.inventory_topic, prefix + body.getvalue(), key=f"P{number % 500:05d}")
        producer.poll(0)
    if producer.flush(60):
        raise ServiceUnreachable("Kafka", settings.kafka_bootstrap_servers, "Messages were not taken.")
    return total


def publish_inventory(settings: Settings, messages: int) -> None:
    """Put so many messages of about 80 bytes on the inventory topic. Raises `ServiceUnreachable` when some were
    not taken.
    """
    producer = Producer(
        client_config(settings) | {"linger.ms": 50, "batch.size": 1_000_000, "queue.buffering.max.messages": 500_000}
    )
    parsed = fastavro.parse_schema(json.loads(inventory_schema()))
    prefix = prefix_of(schema_id(settings))
    failed: list[str] = []
    for number in range(messages):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, parsed, _event(number))
        producer.produce(
            settings.inventory_topic,
            prefix + body.getvalue(),
            key=f"P{number % 500:05d}",
            on_delivery=lambda error, _: failed.append(str(error)) if error else None,
        )
        if number % 20_000 == 0:
            producer.poll(0)
        while len(producer) > 400_000:
            producer.poll(0.1)
    if producer.flush(120) or failed:
        raise ServiceUnreachable("Kafka", settings.kafka_bootstrap_servers, f"Messages were not taken: {failed[:1]}")


def _event(number: int) -> dict[str, object]:
    return {
        "event_id": f"e{number:012d}",
        "sku": f"P{number % 500:05d}",
        "warehouse_id": f"WH-{number % 3}",
        "movement": "sale",
        "quantity_delta": -1,
        "on_hand": 1000 + number % 50,
        "sequence": number,
        "occurred_at": START + timedelta(milliseconds=number % 3_000_000),
    }


def upload_clicks(settings: Settings, megabytes: int, objects: int) -> int:
    """Write so many objects of JSON lines, of so many megabytes in all; returns the number of lines."""
    s3, rng, total = s3_client(settings), random.Random(7), 0
    size = megabytes * 1_000_000 // objects
    for number in range(objects):
        lines, length = [], 0
        for line in _clicks(rng):
            lines.append(line)
            length += len(line) + 1
            if length >= size:
                break
        key = f"{settings.landing_prefix}date=2026-01-01/hour=00/{number:08d}.jsonl"
        # Large ones in several parts, as collectors do.
        s3.upload_fileobj(io.BytesIO(("\n".join(lines) + "\n").encode()), settings.landing_bucket, key)
        total += len(lines)
    return total


def _clicks(rng: random.Random) -> Iterator[str]:
    while True:
        at = START + timedelta(milliseconds=rng.randrange(3_000_000))
        click = {
            "event_id": f"{rng.getrandbits(64):016x}",
            "user_id": f"u{rng.randrange(50_000)}",
            "session_id": f"s{rng.randrange(200_000)}",
            "event_type": rng.choice(KINDS),
            "page_url": f"https://shop.example/product/{rng.randrange(2_000)}",
            "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
            "properties": {"product_id": f"P{rng.randrange(2_000):05d}", "referrer": "search"},
        }
        yield json.dumps(click)
