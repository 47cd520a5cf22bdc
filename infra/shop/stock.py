"""Stock movements: levels per product and warehouse, their past, and the few that run low while anyone watches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from random import Random
from typing import Any

from infra.shop.account import Level
from infra.shop.catalogue import popularity
from infra.shop.faults import new_event_id

WAREHOUSES = ("WH-LONDON", "WH-LEEDS", "WH-BRISTOL")
FLOOR = 2_000
"""Healthy stock stays above it, far from every reorder point that demand could give."""
_MOVEMENTS = ("sale", "return", "adjustment", "count", "transfer")
_MOVEMENT_WEIGHTS = (82, 5, 4, 3, 6)

Pair = tuple[str, str]
Event = dict[str, Any]


class StockBook:
    """Present levels; each movement counts the sequence of its product and warehouse up by one."""

    def __init__(self, skus: Sequence[str], levels: dict[Pair, Level], reorder_point: int) -> None:
        self.pairs: list[Pair] = [(sku, warehouse) for sku in skus for warehouse in WAREHOUSES]
        self.on_hand = {pair: level.on_hand for pair, level in levels.items()}
        self.sequence = {pair: level.sequence for pair, level in levels.items()}
        self.low = {pair for pair, level in levels.items() if level.is_low}
        self.reorder_point = reorder_point
        self._weights = popularity(len(skus), each=len(WAREHOUSES))

    def move(self, rng: Random, pair: Pair, movement: str, delta: int, at: datetime) -> Event:
        """Change a level and return its event."""
        self.on_hand[pair] = self.on_hand.get(pair, 0) + delta
        self.sequence[pair] = self.sequence.get(pair, 0) + 1
        return {
            "event_id": new_event_id(rng),
            "sku": pair[0],
            "warehouse_id": pair[1],
            "movement": movement,
            "quantity_delta": delta,
            "on_hand": self.on_hand[pair],
            "sequence": self.sequence[pair],
            "occurred_at": at,
        }

    def count_new(self, rng: Random, at: datetime) -> Iterator[Event]:
        """The first count of each pair that has no level yet: 3,000 to 6,000 units."""
        for pair in self.pairs:
            if pair not in self.sequence:
                yield self.move(rng, pair, "count", rng.randint(3_000, 6_000), at)

    def trade(self, rng: Random, at: datetime) -> Iterator[Event]:
        """One movement of everyday business (two when goods go from one warehouse to another)."""
        pair = rng.choices(self.pairs, cum_weights=self._weights)[0]
        if pair in self.low:
            # Low stock only drips away: it neither recovers nor reaches zero by itself.
            if self.on_hand[pair] > 3:
                yield self.move(rng, pair, "sale", -1, at)
            return
        if self.on_hand[pair] < FLOOR + 500:
            yield self.move(rng, pair, "receipt", rng.randint(800, 2_000), at)
            return
        movement = rng.choices(_MOVEMENTS, _MOVEMENT_WEIGHTS)[0]
        if movement == "transfer":
            yield from self._transfer(rng, pair, rng.randint(10, 60), at)
        else:
            yield self.move(rng, pair, movement, _delta(rng, movement), at)

    def run_low(self, rng: Random, pair: Pair, at: datetime) -> Iterator[Event]:
        """Cross in one step from far above and stay low: a crossing for every reorder point in between."""
        least = max(self.reorder_point // 3, 1)
        left = rng.randint(least, max(self.reorder_point - 4, least))
        self.low.add(pair)
        yield from self._transfer(rng, pair, self.on_hand[pair] - left, at)

    def run_out(self, rng: Random, pair: Pair, at: datetime) -> Iterator[Event]:
        """Sell the rest of a low pair."""
        yield self.move(rng, pair, "sale", -self.on_hand[pair], at)

    def restock(self, rng: Random, pair: Pair, at: datetime) -> Iterator[Event]:
        """Bring a low pair back, far above every clear level."""
        self.low.discard(pair)
        yield self.move(rng, pair, "receipt", rng.randint(3_500, 6_000), at)

    def _transfer(self, rng: Random, pair: Pair, units: int, at: datetime) -> Iterator[Event]:
        others = [(pair[0], warehouse) for warehouse in WAREHOUSES if (pair[0], warehouse) != pair]
        healthy = [other for other in others if other not in self.low and other in self.sequence]
        yield self.move(rng, pair, "transfer" if healthy else "adjustment", -units, at)
        if healthy:
            yield self.move(rng, rng.choice(healthy), "transfer", units, at)


def _delta(rng: Random, movement: str) -> int:
    if movement == "sale":
        return -min(1 + int(rng.expovariate(0.7)), 12)
    if movement == "return":
        return rng.randint(1, 2)
    if movement == "adjustment":
        return rng.choice((-2, -1, 1))
    return 0


def low_stock_plan(rng: Random, book: StockBook, ticks: int, crossings: int = 6) -> dict[int, list[tuple[str, Pair]]]:
    """What happens to whom at which tick (0 to ticks - 1).

    What an earlier run left low is restocked first; then `crossings` well-selling healthy pairs of different products
    run low; of these the first runs out and the second is restocked, the rest stays low.
    """
    earlier = sorted(book.low)
    known = [pair for pair in book.pairs if pair in book.sequence]
    taken = {sku for sku, _ in earlier}
    chosen: list[Pair] = []
    for pair in rng.sample(known[: max(len(known) // 2, 1)], max(len(known) // 2, 1) if known else 0):
        if pair[0] not in taken and len(chosen) < crossings:
            taken.add(pair[0])
            chosen.append(pair)
    steps = [(0.0, "restock", pair) for pair in earlier]
    steps += [(0.1 + 0.5 * number / max(len(chosen), 1), "run_low", pair) for number, pair in enumerate(chosen)]
    steps += [(0.75, "run_out", pair) for pair in chosen[:1]] + [(0.85, "restock", pair) for pair in chosen[1:2]]
    plan: dict[int, list[tuple[str, Pair]]] = {}
    for moment, action, pair in steps:
        plan.setdefault(min(int(moment * ticks), ticks - 1), []).append((action, pair))
    return plan


def live_stock(
    rng: Random, book: StockBook, steps: Sequence[tuple[str, Pair]], count: int, at: datetime
) -> list[Event]:
    """Movements of one tick: about `count` of everyday business, and the planned steps."""
    events: list[Event] = []
    for action, pair in steps:
        events += {"run_low": book.run_low, "run_out": book.run_out, "restock": book.restock}[action](rng, pair, at)
    while len(events) < count:
        before = len(events)
        events += book.trade(rng, at)
        if len(events) == before:  # the chosen pair is low and may not sell any more
            count -= 1
    return events
