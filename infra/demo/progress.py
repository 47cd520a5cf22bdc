"""How far the streams are: the ledger's positions against the ends of the topics."""

from __future__ import annotations

from lakehouse import direct_read
from lakehouse.kafka_offsets import end_offsets
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, INVENTORY_EVENTS, ORDERS


def has_caught_up(settings: Settings) -> bool:
    """Whether Bronze holds what the inventory, clicks and orders topics hold now."""
    topics = (settings.inventory_topic, settings.click_objects_topic, ORDERS.topic(settings))
    ends = {place: end for place, end in end_offsets(settings, topics).items() if end}
    done: dict[tuple[str, int], int] = {}
    for spec in (INVENTORY_EVENTS, CLICK_EVENTS, ORDERS.changes):
        for entry in direct_read.ledger_entries(settings, spec.table):
            done |= {(one.topic, one.partition): one.to_offset for one in entry.ranges}
    return done == ends
