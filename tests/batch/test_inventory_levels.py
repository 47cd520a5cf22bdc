"""Stock levels in any order and any cut: newest by sequence, what is missing of it, and what is odd about it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
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

pytestmark = pytest.mark.slow
BEGIN = datetime(2026, 11, 23, 9, 0, 0)
LATER = BEGIN + timedelta(days=3)
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


@dataclass
class Story:
    """The levels after each merge; each test looks at products of its own."""

    warehouse: Warehouse
    levels: list[dict[str, Any]]


@pytest.fixture(scope="module")
def story(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Story:
    warehouse = Warehouse(spark, home(tmp_path_factory))
    old = row("silver.inventory_levels", sku="old", sequence=3, _offset=0, occurred_at=BEGIN)
    delta_io.append(frame(spark, INVENTORY_LEVELS.schema, [old]), INVENTORY_LEVELS, warehouse.settings)
    merges = (
        [
            *[event("gap", 1), event("gap", 4), event("begun", 7), event("begun", 8)],
            *[event("below", 1, on_hand=-2), event("zero", 1, on_hand=0)],
            *[event("restarts", 500, on_hand=40), event("late", 500, on_hand=40)],
            *[event("holes", sequence) for sequence in range(1, 4 * MAX_RANGES, 2)],
            *[event("again", 1), event("again", 2)],
            event("old", 5),
        ],
        [
            *[event("gap", 2), event("gap", 2), event("begun", 5)],
            *[event("restarts", 1, on_hand=7, occurred_at=LATER), event("late", 499, on_hand=41)],
            # The highest gap is remembered and closes, the lowest was given up.
            *[event("holes", 4 * MAX_RANGES - 2), event("holes", 2)],
            event("again", 1),
        ],
        [event("restarts", 501, on_hand=6, occurred_at=LATER + timedelta(days=9))],
    )
    return Story(warehouse, [warehouse.merge(*events) for events in merges])


def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("stock"), _env_file=None)  # type: ignore[call-arg]


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


@bounds(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_any_order_and_any_cut_give_what_a_fold_over_the_whole_log_gives(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seed: int, merges: int
) -> None:
    rng = Random(seed)
    warehouse = Warehouse(spark, home(tmp_path_factory))
    log = random_log(rng, skus=400)
    log += rng.sample(log, len(log) // 5)
    rng.shuffle(log)
    cuts = sorted(rng.sample(range(1, len(log)), merges - 1))
    for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        found = warehouse.merge(*log[begin:end])
    names = ("on_hand", "sequence", "is_negative", "missing_sequences", "is_sequence_suspect")
    assert {sku: tuple(one[name] for name in names) for sku, one in found.items()} == expected(log)


def test_a_missing_sequence_is_counted_until_it_arrives(story: Story) -> None:
    before, after = (levels["gap"] for levels in story.levels[:2])
    assert (before["missing_sequences"], after["missing_sequences"], after["sequence"]) == (2, 1, 4)


def test_a_sequence_is_counted_from_the_lowest_that_was_seen(story: Story) -> None:
    assert [levels["begun"]["missing_sequences"] for levels in story.levels[:2]] == [0, 1]


def test_a_level_below_zero_is_kept_and_flagged(story: Story) -> None:
    below, zero = story.levels[0]["below"], story.levels[0]["zero"]
    assert (below["on_hand"], below["is_negative"], zero["is_negative"]) == (-2, True, False)


def test_a_sequence_that_begins_again_is_a_suspect_and_moves_no_level_until_it_passes(story: Story) -> None:
    names = ("on_hand", "sequence", "is_sequence_suspect")
    assert [tuple(levels["restarts"][name] for name in names) for levels in story.levels] == [
        (40, 500, False),
        (40, 500, True),
        (6, 501, False),
    ]
    assert not story.levels[1]["late"]["is_sequence_suspect"]


def test_more_gaps_than_are_remembered_stay_counted_for_ever(story: Story) -> None:
    before, after = (levels["holes"] for levels in story.levels[:2])
    assert (before["missing_sequences"], len(before["_seen"])) == (2 * MAX_RANGES - 1, MAX_RANGES)
    assert after["missing_sequences"] == 2 * MAX_RANGES - 2


def test_a_level_of_a_table_that_did_not_know_ranges_is_merged(story: Story) -> None:
    level = story.levels[0]["old"]
    assert (level["sequence"], level["missing_sequences"]) == (5, 1)


def test_an_event_that_tells_nothing_new_rewrites_no_level_and_no_event_is_no_commit(story: Story) -> None:
    assert story.levels[1]["again"] == story.levels[0]["again"]
    warehouse = story.warehouse
    version = warehouse.version
    assert inventory_levels.run(warehouse.spark, warehouse.settings) == 0
    assert warehouse.version == version
