"""The night's merge: what it takes of Bronze, what it leaves for later, and attempts that are cut off or race."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from change_logs import BEGIN, THINGS, Event, event
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from table_rows import frame

from batch import captured_tables, merge_memory, merge_write, unmergeable
from batch.forget_deletes import forget_deletes
from batch.incarnations import UnknownIncarnation, known, open_next
from batch.left_out import PLACEHOLDER
from batch.rebuild import rebuild
from batch.replay import Replayed, replay
from lakehouse import delta_io, direct_read
from lakehouse.append import Append
from lakehouse.edit import TableChanged
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut
from lakehouse.tables import INCARNATIONS, ORDERS, PRODUCTS
from streaming import quarantine_standing

pytestmark = pytest.mark.slow


class Night:
    """Bronze and the merges of one home."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark, self.settings = spark, settings

    def land(self, *events: Event, **columns: Any) -> None:
        rows = [one.bronze() | columns for one in events]
        delta_io.append(frame(self.spark, THINGS.changes.schema, rows), THINGS.changes, self.settings)

    def merge(self, cut: SourceCut | None = None) -> int:
        return captured_tables.run(self.spark, self.settings, THINGS, cut)

    def live(self) -> dict[int, str | None]:
        rows = delta_io.read(self.spark, THINGS.silver, self.settings).collect()
        return {row["id"]: row["note"] for row in rows}

    def versions(self) -> list[int]:
        return [delta_io.version(self.spark, spec, self.settings) for spec in THINGS.merged]

    def is_what_bronze_gives(self) -> bool:
        return all(one.agrees for one in rebuild(self.spark, self.settings, THINGS))


def die_at(point: int) -> Callable[[str], None]:
    """A kill point that ends the merge when it is reached for the `point`-th time."""
    calls: list[str] = []

    def die(name: str) -> None:
        calls.append(name)
        if len(calls) == point:
            raise RuntimeError("cut off")

    return die


@pytest.fixture
def night(spark: SparkSession, settings: Settings) -> Iterator[Night]:
    """Whatever happens in it leaves nothing in Spark's cache: that would hold the state of the tables with it."""
    spark.catalog.clearCache()
    yield Night(spark, settings)
    assert spark._jsparkSession.sharedState().cacheManager().isEmpty()


def test_merging_nothing_new_commits_nothing(night: Night) -> None:
    night.land(event("c", 1, 10))
    assert night.merge() == 1
    before = night.versions()
    assert night.merge() == 0
    assert night.versions() == before


def test_a_merge_reads_no_file_of_bronze_that_earlier_ones_have_taken(night: Night) -> None:
    night.land(event("c", 1, 10))
    night.land(event("c", 2, 20), _replayed_at=datetime(2026, 11, 24, 9, 0, 0))
    files = list(Path(THINGS.changes.path(night.settings)).glob("*.parquet"))
    # The newest that came back is in a file that is read again: Delta rounds the moments in its statistics.
    night.land(event("c", 4, 25), _replayed_at=datetime(2026, 11, 24, 10, 0, 0))
    night.merge()
    for file in files:
        file.unlink()
    night.land(event("u", 1, 30, note="y"), event("c", 3, 31))
    night.merge()
    assert night.live() == {1: "y", 2: "x", 3: "x", 4: "x"}


@pytest.mark.parametrize("point", [1, 2])
def test_an_attempt_that_is_cut_off_leaves_nothing_that_the_next_does_not_heal(
    night: Night, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    night.land(event("c", 1, 10), event("c", 2, 11), event("c", 3, 12))
    night.merge()
    night.land(event("d", 1, 20), event("u", 2, 21, note=PLACEHOLDER), event("c", 4, 22), event("d", 4, 23))
    with monkeypatch.context() as patch:
        patch.setattr(merge_write, "reach", die_at(point))
        with pytest.raises(RuntimeError, match="cut off"):
            night.merge()
    assert set(night.live()) == {1, 2, 3}, "a reader sees nothing of an attempt that did not end"
    night.land(event("u", 3, 24, note="new"))
    night.merge()
    assert night.live() == {2: "x", 3: "new"}
    assert night.is_what_bronze_gives()


def test_two_attempts_at_once_end_as_one(night: Night) -> None:
    night.land(event("c", 1, 10))
    done: list[int] = []
    attempts = [threading.Thread(target=lambda: done.append(night.merge())) for _ in range(2)]
    for one in attempts:
        one.start()
    for one in attempts:
        one.join()
    assert sorted(done) == [0, 1]
    assert night.live() == {1: "x"}


def test_a_change_beyond_the_cut_waits_and_the_cut_never_moves_back(night: Night) -> None:
    cut = SourceCut("100:110:105", 1000, "system/1", datetime(2026, 11, 23, tzinfo=UTC))
    night.land(event("c", 1, 10), transaction_id="99")
    night.land(event("c", 2, 11), transaction_id="105")
    night.land(event("c", 3, 12), transaction_id="109")
    assert night.merge(cut) == 2
    assert set(night.live()) == {1, 3}
    # The transaction that was open has ended; its row is taken, and the others are not taken again.
    later = replace(cut, snapshot="112:112:")
    assert night.merge(later) == 1
    assert set(night.live()) == {1, 2, 3}
    night.land(event("c", 4, 13), transaction_id="111")
    assert night.merge(cut) == 1, "a night that runs again for an older cut goes on to the newest"
    assert set(night.live()) == {1, 2, 3, 4}


def test_offsets_that_begin_again_hide_no_change(night: Night) -> None:
    night.land(event("c", 1, 10), event("c", 2, 20))
    night.merge()
    Append(night.spark, THINGS.changes, night.settings).commit({"begun-again/shop.public.things": 1}, "")
    night.land(event("u", 1, 30, note="y", offset=0))
    night.merge()
    assert night.live() == {1: "y", 2: "x"}
    assert night.is_what_bronze_gives()
    assert night.merge() == 0


def test_a_row_that_comes_back_from_the_quarantine_is_merged_behind_the_offsets(night: Night) -> None:
    night.land(event("c", 1, 10), event("c", 2, 30))
    night.merge()
    night.land(event("c", 3, 20), _replayed_at=datetime(2026, 11, 24, 9, 0, 0))
    assert night.merge() == 1
    assert set(night.live()) == {1, 2, 3}
    assert night.merge() == 0


def test_a_restored_source_is_merged_when_an_operator_has_opened_it(night: Night) -> None:
    night.land(event("c", 1, 500, note="before"))
    night.merge()
    night.land(event("u", 1, 20, note="after", offset=501), source_incarnation="system/2")
    with pytest.raises(UnknownIncarnation, match="open-incarnation"):
        night.merge()
    open_next(night.spark, night.settings, "system/2", "restored from the backup of the night")
    night.merge()
    assert night.live() == {1: "after"}, "a lower LSN of the next life is newer"


def test_a_source_that_two_first_merges_opened_at_one_moment_is_one(night: Night) -> None:
    row = (1, "system/1", "the first", datetime(2026, 11, 24, tzinfo=UTC))
    twice = night.spark.createDataFrame([row, row], INCARNATIONS.schema)
    delta_io.append(twice, INCARNATIONS, night.settings)
    assert known(night.spark, night.settings) == ["system/1"]


@pytest.mark.parametrize("damage", ["lost", "changed", "doubled", "doubled in the history"])
def test_a_row_that_was_asked_for_again_mends_the_live_table_and_leaves_the_history(night: Night, damage: str) -> None:
    night.land(event("c", 1, 10), event("u", 1, 11, note="y"), event("c", 2, 12))
    night.merge()
    live = delta_io.table(night.spark, THINGS.silver, night.settings)
    if damage == "lost":
        live.delete("id = 1")
    elif damage == "changed":
        live.update("id = 1", {"note": F.lit("nobody wrote this")})
    else:
        spec = THINGS.history if "history" in damage else THINGS.silver
        rows = delta_io.read(night.spark, spec, night.settings).where("id = 1").localCheckpoint()
        delta_io.append(rows, spec, night.settings)
    night.land(event("r", 1, 30, note="y", commit_lsn=25), snapshot="incremental")
    night.merge()
    assert night.live() == {1: "y", 2: "x"}
    assert night.is_what_bronze_gives()


def test_a_snapshot_that_is_repeated_late_does_not_win_over_a_change_that_it_did_not_see(night: Night) -> None:
    first, repeated = event("r", 1, 100, commit_lsn=None), event("r", 1, 200, commit_lsn=None)
    # Open beside both snapshots: the row of each stands before it in the topic.
    change = event("u", 1, 90, note="open beside both", commit_lsn=None)
    night.land(replace(first, offset=0), replace(change, offset=2))
    night.merge()
    night.land(replace(repeated, offset=1), _replayed_at=datetime(2026, 11, 24, 9, 0, 0))
    night.merge()
    assert night.live() == {1: "open beside both"}
    assert night.is_what_bronze_gives()


def test_a_replay_that_is_cut_off_places_its_change_when_it_is_called_again(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.land(event("c", 1, 10), event("d", 1, 20))
    night.merge()
    forget_deletes(night.spark, night.settings, THINGS, datetime(2026, 11, 24))
    night.land(event("c", 3, 12, offset=40))
    night.merge()
    assert night.live() == {}
    with monkeypatch.context() as patch:
        patch.setattr(merge_write, "reach", die_at(2))
        with pytest.raises(RuntimeError, match="cut off"):
            replay(night.spark, night.settings, THINGS, "ann")
    assert replay(night.spark, night.settings, THINGS, "ann") == Replayed(1, {})
    assert night.live() == {3: "x"}
    assert night.is_what_bronze_gives()


def test_what_a_replay_that_was_cut_off_has_in_the_history_the_next_merge_has_live(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.land(event("c", 1, 10), event("d", 1, 20))
    night.merge()
    forget_deletes(night.spark, night.settings, THINGS, datetime(2026, 11, 24))
    night.land(event("c", 3, 12, offset=40))
    night.merge()
    with monkeypatch.context() as patch:
        patch.setattr(merge_write, "reach", die_at(2))
        with pytest.raises(RuntimeError, match="cut off"):
            replay(night.spark, night.settings, THINGS, "ann")
    night.land(event("c", 4, 50))
    night.merge()
    assert night.live() == {3: "x", 4: "x"}
    assert night.is_what_bronze_gives()


def test_a_change_that_was_rejected_by_a_merge_that_was_cut_off_waits_for_the_next(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.land(event("c", 1, 10), event("d", 1, 20))
    night.merge()
    forget_deletes(night.spark, night.settings, THINGS, datetime(2026, 11, 24))
    night.land(event("c", 3, 12, offset=40))
    with monkeypatch.context() as patch:
        patch.setattr(merge_write, "reach", die_at(1))
        with pytest.raises(RuntimeError, match="cut off"):
            night.merge()
    assert replay(night.spark, night.settings, THINGS, "ann") == Replayed(0, {})
    night.merge()
    assert night.live() == {}
    assert replay(night.spark, night.settings, THINGS, "ann") == Replayed(1, {})
    assert night.live() == {3: "x"}


def test_a_late_change_of_a_later_clock_moves_the_times_behind_it(night: Night) -> None:
    night.land(event("c", 1, 10), event("u", 1, 30, note="y"))
    night.merge()
    night.land(event("u", 1, 20, note="z", offset=31, at=BEGIN.replace(second=50)))
    night.merge()
    assert night.is_what_bronze_gives()
    night.land(event("u", 1, 40, note="w"))
    night.merge()
    assert night.is_what_bronze_gives()


def test_an_attempt_that_outlived_its_lease_does_not_take_the_number_of_its_successor(night: Night) -> None:
    night.land(event("c", 1, 10))
    night.merge()
    memory = merge_memory.newest(night.spark, THINGS, night.settings)
    with pytest.raises(TableChanged, match="things"):
        merge_memory.remember(night.spark, THINGS, night.settings, memory, events=1, refolded_keys=0, quarantined=0)


def test_a_truncate_brings_back_nothing_that_was_forgotten(night: Night) -> None:
    night.land(event("c", 1, 10), event("d", 1, 20), event("c", 2, 30))
    night.merge()
    forget_deletes(night.spark, night.settings, THINGS, datetime(2026, 11, 24))
    night.land(event("c", 3, 12, offset=40), event("t", 0, 5, offset=41), event("u", 2, 50, note="y"))
    night.merge()
    assert night.live() == {2: "y"}, "the change of 3 waits in the quarantine"
    assert delta_io.read(night.spark, THINGS.deleted, night.settings).count() == 0
    history = delta_io.read(night.spark, THINGS.history, night.settings).collect()
    assert sorted((row["id"], row["note"], row["is_current"]) for row in history) == [
        (1, "x", False),
        (2, "x", False),
        (2, "y", True),
    ]


def test_below_the_purge_horizon_a_change_of_an_absent_key_can_not_be_placed(night: Night) -> None:
    night.land(event("c", 1, 10), event("d", 1, 20), event("c", 2, 15))
    night.merge()
    assert forget_deletes(night.spark, night.settings, THINGS, datetime(2026, 11, 24)) == 1
    night.land(event("u", 1, 12, offset=30), event("u", 2, 14, offset=31))
    night.merge()
    assert set(night.live()) == {2}
    rejected = delta_io.read(night.spark, unmergeable.quarantine(THINGS), night.settings).collect()
    assert [(row["reasons"], row["origin_position"]) for row in rejected] == [(["below_purge_horizon"], 30)]
    # Replayed, it is placed before the delete that Bronze still knows, and that is all.
    assert replay(night.spark, night.settings, THINGS, "ann", is_dry_run=True) == Replayed(1, {})
    assert replay(night.spark, night.settings, THINGS, "ann") == Replayed(1, {})
    assert set(night.live()) == {2}
    assert night.is_what_bronze_gives()
    assert replay(night.spark, night.settings, THINGS, "ann") == Replayed(0, {})
    connection = quarantine_standing.connect(night.settings, THINGS.rejects)
    assert connection is not None
    standing = direct_read.rows(connection, "select status, attempts, count(*) from standing group by all")
    assert list(standing) == [("replayed", 1, 1)]


def product(op: str, product_id: str, lsn: int) -> dict[str, Any]:
    image = dict.fromkeys(PRODUCTS.columns.names) | {"product_id": product_id, "category": "Fees"}
    place = {"_topic": "shop.public.products", "_partition": 0, "_offset": lsn, "_ingested_at": BEGIN}
    source = {"lsn": lsn, "commit_lsn": lsn, "source_at": BEGIN, "source_incarnation": "system/1"}
    return {"key": {"product_id": product_id}, "op": op, "after": None if op == "d" else image} | source | place


def test_the_delete_of_a_product_that_an_order_names_is_not_forgotten(spark: SparkSession, settings: Settings) -> None:
    changes = [product("c", "POST", 1), product("c", "LAMP", 2), product("d", "LAMP", 10), product("d", "POST", 20)]
    delta_io.append(frame(spark, PRODUCTS.changes.schema, changes), PRODUCTS.changes, settings)
    captured_tables.run(spark, settings, PRODUCTS)
    orders = [{"order_id": 1, "product_id": "POST"}, {"order_id": 2, "product_id": "POST"}]
    delta_io.append(frame(spark, ORDERS.silver.schema, orders), ORDERS.silver, settings)
    assert forget_deletes(spark, settings, PRODUCTS, datetime(2026, 11, 24)) == 1
    remembered = delta_io.read(spark, PRODUCTS.deleted, settings).collect()
    assert [(row["product_id"], row["category"]) for row in remembered] == [("POST", "Fees")]
    horizon = merge_memory.newest(spark, PRODUCTS, settings).horizon
    assert horizon is not None
    assert horizon["lsn"] == 10, "what is remembered does not move the horizon"
    assert forget_deletes(spark, settings, PRODUCTS, datetime(2026, 11, 24)) == 0
