"""Rows that go and rows that come in one commit, without a read of the table for the files in which they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from lakehouse import delta_io
from lakehouse.delta_io import Mark
from lakehouse.edit import Edit, TableChanged
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec
from lakehouse.tables.captured import MERGED
from lakehouse.tables.columns import columns

pytestmark = pytest.mark.slow
NUMBERS = TableSpec("silver.numbers", columns("id int, word string"), ("id",), "Numbers.", properties=MERGED)


@pytest.fixture
def table(spark: SparkSession, tmp_path: Path) -> Settings:
    """Numbers from 0 to 99 in two files, in a folder whose name has to be encoded in a URL."""
    settings = Settings(home=tmp_path / "100 % ours", _env_file=None)  # type: ignore[call-arg]
    rows = spark.range(100, numPartitions=2).selectExpr("cast(id as int) id", "'old' word")
    delta_io.append(rows, NUMBERS, settings)
    return settings


def words(spark: SparkSession, settings: Settings) -> dict[int, str]:
    rows = delta_io.read(spark, NUMBERS, settings).collect()
    found = {row["id"]: row["word"] for row in rows}
    assert len(found) == len(rows)
    return found


def renewed(rows: DataFrame) -> DataFrame:
    return rows.selectExpr("id", "'new' word")


def files(settings: Settings) -> list[Path]:
    return sorted(Path(NUMBERS.path(settings)).glob("*.parquet"))


def test_rows_go_and_come_in_one_commit(spark: SparkSession, table: Settings) -> None:
    before = delta_io.version(spark, NUMBERS, table)
    # Twice, so that the second finds files that have rows marked already.
    for number in (1, 2):
        edit = Edit(spark, NUMBERS, table)
        rows = edit.rows().where(f"id % 10 = {number}")
        assert edit.take_away(rows) == 2
        assert edit.write(renewed(rows)) == 10
        assert delta_io.version(spark, NUMBERS, table) == before + number - 1, "nothing is seen before the commit"
        edit.commit_once(Mark("test", number))
    assert words(spark, table) == {n: "new" if n % 10 in (1, 2) else "old" for n in range(100)}
    assert delta_io.version(spark, NUMBERS, table) == before + 2


def test_the_checksum_of_an_edit_is_that_of_the_table(spark: SparkSession, table: Settings) -> None:
    for number in (1, 2):
        edit = Edit(spark, NUMBERS, table)
        rows = edit.rows().where(f"id % 10 = {number}")
        edit.take_away(rows)
        edit.write(renewed(rows).coalesce(1))
        edit.commit_once(Mark("test", number))
    version = delta_io.version(spark, NUMBERS, table)
    said = json.loads((Path(NUMBERS.path(table)) / "_delta_log" / f"{version:020}.crc").read_text("utf-8"))
    # Delta derives it from the one before and what the commit did; another reader takes all of the log.
    held = pa.table(DeltaTable(NUMBERS.path(table)).get_add_actions(flatten=True))
    assert (said["numFiles"], said["tableSizeBytes"]) == (held.num_rows, sum(held["size_bytes"].to_pylist()))
    assert (said["numDeletedRecordsOpt"], said["numDeletionVectorsOpt"]) == (20, 2)
    assert [(one["appId"], one["version"]) for one in said["setTransactions"]] == [("test", 2)]


def test_a_mark_that_the_table_knows_is_not_committed_again(spark: SparkSession, table: Settings) -> None:
    for number, added in ((2, 1), (2, 0), (1, 0)):
        before = files(table)
        edit = Edit(spark, NUMBERS, table)
        rows = edit.rows().where(f"id = {10 * number}")
        edit.take_away(rows)
        edit.write(renewed(rows).coalesce(1))
        edit.commit_once(Mark("test", number))
        assert len(files(table)) - len(before) == added, "what is not committed is not left"
    assert [n for n, word in words(spark, table).items() if word == "new"] == [20]


def test_of_two_edits_at_once_one_is_told_that_the_table_changed(spark: SparkSession, table: Settings) -> None:
    first, second = Edit(spark, NUMBERS, table), Edit(spark, NUMBERS, table)
    for edit in (first, second):
        edit.write(renewed(edit.rows().where("id = 5")).coalesce(1))
    first.commit_once(Mark("test", 1))
    before = files(table)
    with pytest.raises(TableChanged, match=r"silver\.numbers"):
        second.commit_once(Mark("test", 2))
    assert len(before) - len(files(table)) == 1


def test_a_row_that_somebody_deleted_meanwhile_is_a_conflict(spark: SparkSession, table: Settings) -> None:
    edit = Edit(spark, NUMBERS, table)
    edit.take_away(edit.rows().where("id = 5"))
    delta_io.table(spark, NUMBERS, table).delete("id = 5")
    with pytest.raises(TableChanged):
        edit.commit_once(Mark("test", 1))
    assert len(words(spark, table)) == 99
