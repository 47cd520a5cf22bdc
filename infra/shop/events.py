"""Kafka: stock events in the registry's framing and bad records as they are, with the account in step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.shop.bookkeeping import AccountBook
from infra.shop.errors import DeliveryFailed
from infra.shop.faults import Encode, Record
from infra.shop.topic_reader import HEADER, TopicReader
from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config, registry_config
from lakehouse.settings import PROJECT_ROOT, Settings

INVENTORY_CONTRACT = PROJECT_ROOT / "lakehouse" / "contracts" / "inventory_event.avsc"
_DELIVERY_SECONDS = 30


class ShopEvents:
    """One idempotent producer. A batch counts when the broker has acknowledged every record of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # What goes wrong is raised as one sentence; the client would also print it, line by line.
        self._config = client_config(settings) | {"log_level": "2"}
        self.reader = TopicReader(settings)
        self._ends: dict[str, dict[int, int]] = {}
        self._producer = Producer(
            self._config
            | {
                "enable.idempotence": True,
                "linger.ms": 20,
                # Keys land where Kafka's Java clients put them.
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": _DELIVERY_SECONDS * 1000,
            }
        )

    def identity(self) -> str:
        """The Kafka cluster's id. Raises `ServiceUnreachable`."""
        try:
            cluster = AdminClient(dict(self._config)).list_topics(timeout=15)
        except KafkaException:
            raise ServiceUnreachable(
                "Kafka", self._settings.kafka_bootstrap_servers, "Run `lakehouse up` first."
            ) from None
        return str(cluster.cluster_id)

    def inventory_encoder(self) -> Encode:
        """Writes an inventory event in the registry's framing; registers the contract if it is new.

        Raises `ServiceUnreachable` when the registry does not answer.
        """
        registry = SchemaRegistryClient(registry_config(self._settings))
        try:
            registry.get_subjects()
        except Exception as error:  # its HTTP library's own errors come through
            cure = f"Run `lakehouse up` first ({type(error).__name__})."
            raise ServiceUnreachable("The schema registry", self._settings.schema_registry_url, cure) from None
        serializer = AvroSerializer(registry, INVENTORY_CONTRACT.read_text(encoding="utf-8"))
        context = SerializationContext(self._settings.inventory_topic, MessageField.VALUE)

        def encode(event: dict[str, Any]) -> bytes:
            return bytes(serializer(event, context))

        return encode

    def send(self, topic: str, records: Sequence[Record], source: str, book: AccountBook, **facts: Any) -> None:
        """Send one batch: intent, records, all acknowledgements, outcome. Raises `DeliveryFailed`."""
        if not records:
            return
        ends = self._ends.get(topic) or self._ends.setdefault(topic, self.reader.ends(topic))
        notes = [record.note for record in records]
        entry = book.intend("kafka", source=source, topic=topic, start=dict(ends), records=notes, **facts)
        receipt = _Receipt(ends)
        prefix = book.header(entry)
        for index, record in enumerate(records):
            headers: list[tuple[str, str | bytes | None]] = [(HEADER, f"{prefix}{index}".encode())]
            self._producer.produce(topic, record.value, record.key, on_delivery=receipt.delivered, headers=headers)
            self._producer.poll(0)
        self._producer.flush(_DELIVERY_SECONDS + 5)
        if receipt.acknowledged != len(records):
            raise DeliveryFailed(topic, len(records) - receipt.acknowledged, len(records), receipt.failure)
        book.confirm(entry)


class _Receipt:
    """Collects the acknowledgements of one batch, and where the topic ends after them."""

    def __init__(self, ends: dict[int, int]) -> None:
        self.acknowledged = 0
        self.failure = "no answer"
        self._ends = ends

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            self.failure = str(error)
            return
        self.acknowledged += 1
        self._ends[partition] = max(self._ends.get(partition, 0), offset + 1)
