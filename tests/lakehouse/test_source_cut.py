"""Which transactions a cut sees, over the wrap-around of their ids, and which of two cuts is the later."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse.source_cut import EPOCH, OtherIncarnation, SourceCut

TAKEN_AT = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC)


def cut(snapshot: str, incarnation: str = "7/1") -> SourceCut:
    return SourceCut(snapshot, 4711, incarnation, TAKEN_AT)


def seen(spark: SparkSession, one: SourceCut, ids: list[str | None]) -> list[bool]:
    frame = spark.createDataFrame([(place, found) for place, found in enumerate(ids)], "place int, id string")
    rows = frame.select("place", one.sees(frame["id"]).alias("is_seen")).orderBy("place").collect()
    return [row["is_seen"] for row in rows]


def test_a_cut_comes_back_from_json() -> None:
    one = cut("10:20:12,15")
    assert SourceCut.from_json(one.to_json()) == one


def test_a_transaction_that_was_open_is_not_seen_and_one_that_ended_is(spark: SparkSession) -> None:
    ids = ["9:100", "11:100", "12:100", "15", "19:1", "20:1", "21:1", None]
    assert seen(spark, cut("10:20:12,15"), ids) == [True, True, False, False, True, False, False, True]


def test_a_row_of_an_incremental_snapshot_is_seen_if_it_was_sent_before_the_cut(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(4710,), (4711,), (4712,), (None,)], "sent_at bigint")
    is_seen = cut("10:20:").sees(F.lit(None).cast("string"), frame["sent_at"])
    assert [row[0] for row in frame.select(is_seen).collect()] == [True, True, False, True]


def test_without_open_transactions_the_end_alone_decides(spark: SparkSession) -> None:
    assert seen(spark, cut("20:20:"), ["19", "20"]) == [True, False]


@pytest.mark.parametrize("epoch", [0, 1, 7, 2**20])
def test_ids_of_32_bits_are_seen_right_over_the_wrap_around(spark: SparkSession, epoch: int) -> None:
    chance = random.Random(epoch)
    for end in (5, EPOCH // 2, EPOCH - 3):
        xmax = epoch * EPOCH + end
        xmin = max(3, xmax - 40)
        open_ones = sorted({chance.randrange(xmin, xmax) for _ in range(6)})
        one = cut(f"{xmin}:{xmax}:{','.join(map(str, open_ones))}")
        near = range(max(3, xmax - 60), xmax + 60)
        far = [xmax - 3 * 10**9, xmax - 2**31 - 1, xmax + 10**9]
        xids = [xid for xid in [*near, *far] if xid >= 3]
        expected = [one.has_seen(xid) for xid in xids]
        assert seen(spark, one, [f"{xid % EPOCH}:99" for xid in xids]) == expected
        # An initial snapshot carries the id with its epoch.
        wide = [(xid, saw) for xid, saw in zip(xids, expected, strict=True) if xid >= EPOCH]
        assert seen(spark, one, [str(xid) for xid, _ in wide]) == [saw for _, saw in wide]


def test_a_thousand_open_transactions_make_no_large_plan(spark: SparkSession) -> None:
    open_ones = range(5_000_000_000, 5_000_002_000, 2)
    one = cut(f"{open_ones[0]}:{open_ones[-1] + 1}:{','.join(map(str, open_ones))}")
    frame = spark.range(4_999_999_990, 5_000_002_010).selectExpr("id", "string(id % 4294967296) as given")
    hidden = frame.where(~one.sees(frame["given"]))
    assert hidden.count() == len(open_ones) + (5_000_002_010 - open_ones[-1] - 1)
    assert str(one.sees(frame["given"])).count("5000000000") <= 4


def test_the_later_of_two_cuts_sees_more() -> None:
    earlier, same_end, later = cut("10:20:10,12"), cut("12:20:12"), cut("12:25:12,21")
    assert same_end.is_later_than(earlier)
    assert later.is_later_than(same_end)
    assert later.is_later_than(earlier)
    assert not earlier.is_later_than(same_end)
    assert not earlier.is_later_than(later)
    assert not later.is_later_than(replace(later, lsn=9999))


def test_of_two_snapshots_of_a_run_of_transactions_the_later_is_later() -> None:
    chance = random.Random(3)
    for _ in range(50):
        running, newest, highest, taken = set[int](), 100, 99, list[SourceCut]()
        for _ in range(60):
            if running and chance.random() < 0.5:
                ended = chance.choice(sorted(running))
                running.remove(ended)
                highest = max(highest, ended)
            else:
                running.add(newest)
                newest += 1
            below = sorted(xid for xid in running if xid <= highest)
            taken.append(cut(f"{min([*below, highest + 1])}:{highest + 1}:{','.join(map(str, below))}"))
        for first, second in itertools.pairwise(taken):
            assert second.is_later_than(first) == (second.snapshot != first.snapshot)
            assert not first.is_later_than(second)


def test_cuts_of_two_databases_have_no_order() -> None:
    with pytest.raises(OtherIncarnation, match="restored or failed over"):
        cut("10:20:").is_later_than(cut("10:20:", "8/1"))
