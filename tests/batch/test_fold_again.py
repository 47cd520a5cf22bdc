"""Rows that nobody can account for are made anew from Bronze, and the rows of other keys stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from change_logs import BEGIN, THINGS, Event, event
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from table_rows import frame

from batch import captured_tables
from batch.fold_again import fold_again
from batch.left_out import PLACEHOLDER
from batch.rebuild import rebuild
from lakehouse import delta_io
from lakehouse.settings import Settings

pytestmark = pytest.mark.slow
LONG = "a long note"
RIGHT = [(1, 1, LONG), (2, 1, LONG), (5, 1, "x")]


def merge(spark: SparkSession, settings: Settings, *events: Event) -> None:
    rows = [one.bronze() for one in events]
    delta_io.append(frame(spark, THINGS.changes.schema, rows), THINGS.changes, settings)
    captured_tables.run(spark, settings, THINGS)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Key 1 changed without its note, 2 took the note of 3 along, 4 is deleted, 5 is there. Each test mends it."""
    settings = Settings(home=tmp_path_factory.mktemp("folded"), _env_file=None)  # type: ignore[call-arg]
    merge(spark, settings, event("c", 1, 10, LONG), event("c", 3, 11, LONG), event("c", 4, 12), event("c", 5, 13))
    moved = (event("d", 3, 21), replace(event("c", 2, 21, PLACEHOLDER), order=2, offset=22))
    merge(spark, settings, event("u", 1, 20, PLACEHOLDER), *moved, event("d", 4, 23))
    return settings


@pytest.fixture
def silver(spark: SparkSession, lake: Settings) -> DeltaTable:
    table = delta_io.table(spark, THINGS.silver, lake)
    assert rows(table) == RIGHT
    return table


def rows(silver: DeltaTable) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in silver.toDF().select("id", "amount", "note").collect())


def write_beside(silver: DeltaTable, rows: DataFrame) -> None:
    rows.write.format("delta").mode("append").save(silver.detail().collect()[0]["location"])


def test_a_doubled_row_is_there_once_with_what_bronze_gives(
    spark: SparkSession, lake: Settings, silver: DeltaTable
) -> None:
    write_beside(silver, silver.toDF().where("id in (1, 2)").withColumn("amount", F.lit(7)))
    assert len(rows(silver)) == len(RIGHT) + 2
    assert fold_again(spark, lake, THINGS, [(0, 1), (0, 2)]) == 2
    assert rows(silver) == RIGHT


def test_a_row_that_bronze_never_saw_or_saw_deleted_goes(
    spark: SparkSession, lake: Settings, silver: DeltaTable
) -> None:
    one = silver.toDF().where("id = 5")
    write_beside(silver, one.withColumn("id", F.lit(99)).unionByName(one.withColumn("id", F.lit(4))))
    assert fold_again(spark, lake, THINGS, [(0, 99), (0, 4)]) == 0
    assert rows(silver) == RIGHT
    deleted = delta_io.read(spark, THINGS.deleted, lake).where("id = 4").collect()
    assert [(row["note"], row["_deleted_at"]) for row in deleted] == [("x", BEGIN.replace(second=23))]


def test_a_history_that_was_changed_by_hand_is_mended_too(
    spark: SparkSession, lake: Settings, silver: DeltaTable
) -> None:
    delta_io.table(spark, THINGS.history, lake).delete("id = 1")
    fold_again(spark, lake, THINGS, [(0, 1)])
    assert [str(one) for one in rebuild(spark, lake, THINGS) if not one.agrees] == []


def test_other_keys_keep_their_rows_and_the_next_merge_goes_on(
    spark: SparkSession, lake: Settings, silver: DeltaTable
) -> None:
    # Wrong as well, and not asked for.
    silver.update("id = 5", {"note": F.lit("by hand")})
    write_beside(silver, silver.toDF().where("id = 1"))
    fold_again(spark, lake, THINGS, [(0, 1)])
    assert rows(silver) == [*RIGHT[:2], (5, 1, "by hand")]
    merge(spark, lake, event("u", 1, 30, "later"), event("u", 5, 31))
    assert rows(silver) == [(1, 1, "later"), *RIGHT[1:]]
    assert fold_again(spark, lake, THINGS, []) == 0
    # The span of 5 was ended where the merge met what had been written by hand.
    fold_again(spark, lake, THINGS, [(0, 5)])
    assert [str(one) for one in rebuild(spark, lake, THINGS) if not one.agrees] == []
