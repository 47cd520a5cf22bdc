"""The night's merge: what it takes of Bronze, what it leaves for later, and attempts that are cut off or race."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from change_logs import BEGIN, THINGS, event
from pyspark.sql import functions as F
from things_nights import Night, cut_off

from batch import merge_memory
from batch.incarnations import UnknownIncarnation, known, open_next
from batch.left_out import PLACEHOLDER
from lakehouse import delta_io
from lakehouse.append import Append
from lakehouse.edit import TableChanged
from lakehouse.source_cut import SourceCut
from lakehouse.tables import INCARNATIONS

pytestmark = pytest.mark.slow


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
def test_an_attempt_that_is_cut_off_leaves_nothing_that_the_next_does_not_heal(night: Night, point: int) -> None:
    night.land(event("c", 1, 10), event("c", 2, 11), event("c", 3, 12))
    night.merge()
    night.land(event("d", 1, 20), event("u", 2, 21, note=PLACEHOLDER), event("c", 4, 22), event("d", 4, 23))
    with cut_off(point):
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


def test_a_snapshot_behind_a_topic_that_was_made_again_beats_what_came_before(night: Night) -> None:
    earlier, later = datetime(2026, 11, 24, 9, 0, 0), datetime(2026, 11, 24, 10, 0, 0)
    # The first transaction behind the first snapshot was open while that was read: it has a lower LSN.
    night.land(event("r", 1, 100, note="first", commit_lsn=None, offset=1000), _kafka_at=earlier)
    night.land(event("u", 1, 90, note="open", commit_lsn=None, offset=1001), _kafka_at=earlier)
    night.merge()
    assert night.live() == {1: "open"}
    Append(night.spark, THINGS.changes, night.settings).commit({"begun-again/shop.public.things": 1}, "")
    night.land(event("r", 1, 500, note="second", commit_lsn=None, offset=3), _kafka_at=later)
    night.merge()
    assert night.live() == {1: "second"}
    assert night.is_what_bronze_gives()


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
