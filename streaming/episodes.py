"""Episodes of low stock: what a level of one product in one warehouse does to what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Level:
    """The stock level of one product in one warehouse after one event."""

    sku: str
    warehouse_id: str
    on_hand: int
    sequence: int
    occurred_at: datetime


@dataclass(frozen=True)
class Episode:
    """What is known of a (sku, warehouse): the last sequence that counted, and the open episode's first one, if any."""

    sequence: int
    opened_at_sequence: int | None = None
    is_escalated: bool = False


def step(before: Episode | None, level: Level, reorder_point: int, clear_level: float) -> tuple[Episode, str | None]:
    """The episode after a level, and the alert that it causes (`opened`, `escalated`, `closed`) or None.

    A level that is not newer than the known one changes nothing.
    """
    known = before or Episode(sequence=-1)
    if level.sequence <= known.sequence:
        return known, None
    if known.opened_at_sequence is None:
        if level.on_hand > reorder_point:
            return Episode(level.sequence), None
        # Already at zero: one message, not two.
        return Episode(level.sequence, level.sequence, is_escalated=level.on_hand <= 0), "opened"
    if level.on_hand > clear_level:
        return Episode(level.sequence), "closed"
    if level.on_hand <= 0 and not known.is_escalated:
        return Episode(level.sequence, known.opened_at_sequence, is_escalated=True), "escalated"
    return Episode(level.sequence, known.opened_at_sequence, known.is_escalated), None
