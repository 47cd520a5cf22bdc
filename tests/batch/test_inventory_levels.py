"""Stock levels in any order and any cut: newest by sequence, what is missing of it, and what is odd about it."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from table_rows import frame, row

from batch import inventory_levels
from batch.inventory_levels import MAX_RANGES
from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS, INVENTORY_LEVELS

BEGIN = datetime(2026, 11, 23, 9, 0, 0)
Event = dict[str, Any]


def event(sku: str, sequence: int, on_hand: int = 5, **values: Any) -> Event:
    """A row of Bronze; it happened `sequence` minutes after nine."""
    at = BEGIN + timedelta(minutes=sequence)
    return row("bronze.inventory_events", sku=sku, sequence=sequence, on_hand=on_hand, occurred_at=at) | values


class Warehouse:
    """Bronze, to which events arrive, and the levels after each merge."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark, self.settings, self.offset = spark, settings, 0

    def merge(self, *events: Event) -> dict[str, Any]:
        numbered = [one | {"_offset": self.offset + number} for number, one in enumerate(events)]
        self.offset += len(events)
        bronze = frame(self.spark, INVENTORY_EVENTS.schema, numbered).coalesce(1)
        delta_io.append(bronze, INVENTORY_EVENTS, self.settings)
        inventory_levels.run(self.spark, self.settings)
        return {one["sku"]: one for one in delta_io.read(self.spark, INVENTORY_LEVELS, self.settings).collect()}

    @property
    def version(self) -> int:
        return delta_io.version(self.spark, INVENTORY_LEVELS, self.settings)


@pytest.fixture
def warehouse(spark: SparkSession, settings: Settings) -> Warehouse:
    return Warehouse(spark, settings)


def expected(log: list[Event]) -> dict[str, tuple[Any, ...]]:
    by_sku = defaultdict(list)
    for offset, one in enumerate(log):
        by_sku[one["sku"]].append((one["sequence"], offset, one))
    levels = {}
    for sku, events in by_sku.items():
        sequence, _, newest = max(events, key=lambda one: one[:2])
        seen = {one[0] for one in events}
        latest = max(one[2]["occurred_at"] for one in events)
        is_suspect = latest > newest["occurred_at"] + timedelta(minutes=5)
        missing = sequence - min(seen) + 1 - len(seen)
        levels[sku] = (newest["on_hand"], sequence, newest["on_hand"] < 0, missing, is_suspect)
    return levels


def random_log(rng: Random, skus: int) -> list[Event]:
    log = []
    for number in range(skus):
        sequences = [rng.randint(1, 12) for _ in range(rng.randint(1, 12))]
        for sequence in sequences:
            at = BEGIN + timedelta(minutes=rng.choice([sequence, sequence, sequence, 30]))
            log.append(event(f"S{number}", sequence, rng.randint(-3, 9), occurred_at=at))
    return log


@pytest.mark.slow
@bounds(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_any_order_and_any_cut_give_what_a_fold_over_the_whole_log_gives(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seed: int, merges: int
) -> None:
    rng = Random(seed)
    settings = Settings(home=tmp_path_factory.mktemp("stock"), _env_file=None)  # type: ignore[call-arg]
    warehouse = Warehouse(spark, settings)
    log = random_log(rng, skus=200)
    log += rng.sample(log, len(log) // 5)
    rng.shuffle(log)
    cuts = sorted(rng.sample(range(1, len(log)), merges - 1))
    for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        found = warehouse.merge(*log[begin:end])
    names = ("on_hand", "sequence", "is_negative", "missing_sequences", "is_sequence_suspect")
    assert {sku: tuple(one[name] for name in names) for sku, one in found.items()} == expected(log)


def test_a_missing_sequence_is_counted_until_it_arrives(warehouse: Warehouse) -> None:
    levels = warehouse.merge(event("a", 1), event("a", 4), event("b", 7), event("b", 8))
    assert (levels["a"]["missing_sequences"], levels["b"]["missing_sequences"]) == (2, 0)
    levels = warehouse.merge(event("a", 2), event("a", 2), event("b", 5))
    assert (levels["a"]["missing_sequences"], levels["a"]["sequence"]) == (1, 4)
    # Nobody knows where a sequence began: it is counted from the lowest that was seen.
    assert levels["b"]["missing_sequences"] == 1


def test_a_level_below_zero_is_kept_and_flagged(warehouse: Warehouse) -> None:
    levels = warehouse.merge(event("a", 1, on_hand=-2), event("b", 1, on_hand=0))
    assert (levels["a"]["on_hand"], levels["a"]["is_negative"], levels["b"]["is_negative"]) == (-2, True, False)


def test_a_sequence_that_begins_again_is_a_suspect_and_moves_no_level(warehouse: Warehouse) -> None:
    warehouse.merge(event("a", 500, on_hand=40), event("b", 500, on_hand=40))
    later = BEGIN + timedelta(days=3)
    levels = warehouse.merge(event("a", 1, on_hand=7, occurred_at=later), event("b", 499, on_hand=41))
    assert (levels["a"]["on_hand"], levels["a"]["sequence"], levels["a"]["is_sequence_suspect"]) == (40, 500, True)
    assert not levels["b"]["is_sequence_suspect"]
    levels = warehouse.merge(event("a", 501, on_hand=6, occurred_at=later + timedelta(days=9)))
    assert (levels["a"]["on_hand"], levels["a"]["is_sequence_suspect"]) == (6, False)


def test_more_gaps_than_are_remembered_stay_counted_for_ever(warehouse: Warehouse) -> None:
    every_other = [event("a", sequence) for sequence in range(1, 4 * MAX_RANGES, 2)]
    levels = warehouse.merge(*every_other)
    assert levels["a"]["missing_sequences"] == 2 * MAX_RANGES - 1
    assert len(levels["a"]["_seen"]) == MAX_RANGES
    # The highest gap is remembered and closes, the lowest was given up.
    levels = warehouse.merge(event("a", 4 * MAX_RANGES - 2), event("a", 2))
    assert levels["a"]["missing_sequences"] == 2 * MAX_RANGES - 2


def test_a_level_of_a_table_that_did_not_know_ranges_is_merged(warehouse: Warehouse) -> None:
    old = {"_offset": 0, "occurred_at": BEGIN}
    known = frame(warehouse.spark, INVENTORY_LEVELS.schema, [row("silver.inventory_levels", sku="a", sequence=3) | old])
    delta_io.append(known, INVENTORY_LEVELS, warehouse.settings)
    levels = warehouse.merge(event("a", 5))
    assert (levels["a"]["sequence"], levels["a"]["missing_sequences"]) == (5, 1)


def test_a_repeated_event_moves_the_positions_and_rewrites_no_level(warehouse: Warehouse) -> None:
    before = warehouse.merge(event("a", 1), event("a", 2))
    # The older one again; the newest again would have a later offset.
    assert warehouse.merge(event("a", 1)) == before
    version = warehouse.version
    assert inventory_levels.run(warehouse.spark, warehouse.settings) == 0
    assert warehouse.version == version
