"""How far the streams are: the ledger's positions against the ends of the topics."""

from __future__ import annotations

from lakehouse import direct_read
from lakehouse.kafka_offsets import end_offsets
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, INVENTORY_EVENTS, SILVER_CAPTURED


def has_caught_up(settings: Settings) -> bool:
    """Whether Bronze holds all stock movements, clicks and changes of the shop's tables that Kafka holds now."""
    topics = (
        settings.inventory_topic,
        settings.click_objects_topic,
        *(table.topic(settings) for table in SILVER_CAPTURED),
    )
    ends = {place: end for place, end in end_offsets(settings, topics).items() if end}
    done: dict[tuple[str, int], int] = {}
    for spec in (INVENTORY_EVENTS, CLICK_EVENTS, *(table.changes for table in SILVER_CAPTURED)):
        for entry in direct_read.ledger_entries(settings, spec.table):
            done |= {(one.topic, one.partition): one.to_offset for one in entry.ranges}
    return done == ends
