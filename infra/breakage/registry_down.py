"""The schema registry is down while events of a new schema arrive: the stream waits, and no good row is rejected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.breakage import promise, streams
from infra.breakage.ground import Ground, send
from infra.demo import processes
from infra.demo.checks import Check
from infra.local import registry, stack
from infra.shop.events import INVENTORY_CONTRACT
from infra.shop.faults import Encode
from lakehouse.errors import StepFailed
from lakehouse.kafka_config import registry_config
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS

EVENTS = 400
WAITING = "registry_does_not_answer"
NEW_FIELD = {"name": "noted_by", "type": ["null", "string"], "default": None, "doc": "who counted"}


def run(ground: Ground) -> None:
    """Stop the registry, see the stream wait, start it again, compare.

    Raises `PromiseBroken`, and `StepFailed` when the stream ended with an error.
    """
    settings = ground.settings
    ground.say(f"Stops the schema registry, and has {EVENTS} events with a newer schema wait for the stream.")
    streams.catch_up_first(ground, "inventory")
    with ground.shop() as shop:
        send(shop, EVENTS, encode=newer_encoder(settings))
    before = _held(settings)
    entries = len(streams.entries(ground, "inventory"))
    stack.stop_service(settings.home, registry.NAME, ground.say)
    try:
        child = streams.start(ground, "inventory", "--until-caught-up")
        try:
            child.wait_for(lambda: any(_waits(child)), streams.SECONDS)
            ground.say(f"  the stream logs: {json.dumps(next(_waits(child)))}")
            meanwhile = _held(settings)
            ground.say("The registry comes back:")
            stack.up(settings.home, None, ground.say)
            ended = streams.finish(child)
        finally:
            child.stop()
    finally:
        # Also after Ctrl-C: nobody should have to look for the missing service.
        stack.up(settings.home, None, lambda _: None)
    if ended.code:
        raise StepFailed(f"The stream ended with code {ended.code}: {ended.sentence or f'see {child.log}'}")
    streams.tell_entries(ground, "inventory", entries)
    waited = Check("rows in Bronze and quarantine while the registry was down", before, meanwhile)
    promise.require(ground, [waited], promise.inventory(settings))


def newer_encoder(settings: Settings) -> Encode:
    """Writes stock events with one more optional field; registers that schema as the subject's newest."""
    contract: dict[str, Any] = json.loads(INVENTORY_CONTRACT.read_text("utf-8"))
    newer = json.dumps(contract | {"fields": [*contract["fields"], NEW_FIELD]})
    serializer = AvroSerializer(SchemaRegistryClient(registry_config(settings)), newer)
    context = SerializationContext(settings.inventory_topic, MessageField.VALUE)

    def encode(event: dict[str, Any]) -> bytes:
        return bytes(serializer(event, context))

    return encode


def _waits(child: processes.Child) -> Iterator[dict[str, Any]]:
    """The log lines of a batch that waits; before its first batch a stream asks once, without waiting."""
    return (line for line in streams.events_logged(child, WAITING) if "next_try_seconds" in line)


def _held(settings: Settings) -> tuple[int, int]:
    rejected = promise.quarantined(settings, INVENTORY_EVENTS.table)
    return promise.bronze_ids(settings).total(), rejected.total()
