"""Readers see the last complete publication or the next one, whatever happens in between."""

from __future__ import annotations

import shutil
from datetime import date
from typing import Any

import pytest
from pyspark.sql import SparkSession

from batch import bi
from batch import publish as room
from batch.marts import candidate, published
from batch.publish import publish, published_versions
from lakehouse import delta_io
from lakehouse.errors import StepFailed, TableMissing, UnsafeIdentifier
from lakehouse.settings import Settings
from lakehouse.tables import PUBLICATIONS

pytestmark = pytest.mark.slow

DAY = date(2026, 11, 23)


@pytest.fixture(autouse=True)
def two_marts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two are as telling as seven, and quicker.
    monkeypatch.setattr(room, "MARTS", ("dim_products", "fct_orders"))


def build(spark: SparkSession, settings: Settings, mart: str, *values: int, column: str = "id") -> None:
    frame = spark.createDataFrame([(value,) for value in values], f"{column} int").coalesce(1)
    frame.write.format("delta").mode("overwrite").option("overwriteSchema", True).save(candidate(mart).path(settings))


def seen(spark: SparkSession, settings: Settings, mart: str, version: int | None = None) -> list[int]:
    return sorted(row[0] for row in delta_io.read(spark, published(mart), settings, version).collect())


def versions(spark: SparkSession, settings: Settings) -> dict[str, int]:
    return {mart: delta_io.version(spark, published(mart), settings) for mart in room.MARTS}


@pytest.fixture
def first_night(spark: SparkSession, settings: Settings) -> None:
    build(spark, settings, "dim_products", 1)
    build(spark, settings, "fct_orders", 10, 11)
    assert publish(spark, settings, DAY, "night-1") == 2


@pytest.mark.usefixtures("first_night")
def test_a_publication_is_the_candidate_and_its_record(spark: SparkSession, settings: Settings) -> None:
    assert seen(spark, settings, "dim_products") == [1]
    assert seen(spark, settings, "fct_orders") == [10, 11]
    assert published_versions(settings) == {"gold.dim_products": 0, "gold.fct_orders": 0}
    recorded = delta_io.read(spark, PUBLICATIONS, settings).orderBy("table_name").collect()
    assert [(row["run_id"], row["table_name"], row["row_count"]) for row in recorded] == [
        ("night-1", "gold.dim_products", 1),
        ("night-1", "gold.fct_orders", 2),
    ]


@pytest.mark.usefixtures("first_night")
def test_the_same_run_again_changes_nothing(spark: SparkSession, settings: Settings) -> None:
    before = delta_io.version(spark, PUBLICATIONS, settings)
    assert publish(spark, settings, DAY, "night-1") == 0
    assert versions(spark, settings) == {"dim_products": 0, "fct_orders": 0}
    assert delta_io.version(spark, PUBLICATIONS, settings) == before


@pytest.mark.usefixtures("first_night")
def test_jdbc_clients_see_the_publication_and_not_what_a_night_has_moved_so_far(
    spark: SparkSession, settings: Settings
) -> None:
    shown = bi.show_published(spark, settings, {})
    try:
        build(spark, settings, "fct_orders", 10, 11, 12)
        # Moved, and the night died before its record.
        delta_io.replace(delta_io.read(spark, candidate("fct_orders"), settings), published("fct_orders"), settings, "")
        assert bi.show_published(spark, settings, shown) == shown
        assert spark.table("gold.fct_orders").count() == 2
        publish(spark, settings, DAY, "night-2")
        bi.show_published(spark, settings, shown)
        assert spark.table("gold.fct_orders").count() == 3
    finally:
        spark.sql("drop schema gold cascade")


@pytest.mark.usefixtures("first_night")
def test_only_what_was_built_anew_moves_and_the_record_stays_complete(spark: SparkSession, settings: Settings) -> None:
    build(spark, settings, "fct_orders", 10, 11, 12)
    assert publish(spark, settings, DAY, "night-2") == 1
    assert published_versions(settings) == {"gold.dim_products": 0, "gold.fct_orders": 1}
    assert seen(spark, settings, "fct_orders", version=0) == [10, 11]


@pytest.mark.usefixtures("first_night")
def test_a_publication_that_dies_before_its_record_is_not_seen_and_goes_on(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(spark, settings, "dim_products", 2)
    build(spark, settings, "fct_orders", 12)
    record = room._record

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "_record", dies)
    with pytest.raises(KeyboardInterrupt):
        publish(spark, settings, DAY, "night-2")
    assert published_versions(settings) == {"gold.dim_products": 0, "gold.fct_orders": 0}

    monkeypatch.setattr(room, "_record", record)
    assert publish(spark, settings, DAY, "night-2") == 0
    assert versions(spark, settings) == {"dim_products": 1, "fct_orders": 1}
    assert published_versions(settings) == {"gold.dim_products": 1, "gold.fct_orders": 1}


@pytest.mark.usefixtures("first_night")
def test_nothing_moves_while_a_mart_is_missing(spark: SparkSession, settings: Settings) -> None:
    build(spark, settings, "dim_products", 2)
    shutil.rmtree(candidate("fct_orders").path(settings))
    with pytest.raises(TableMissing, match=r"candidate\.fct_orders"):
        publish(spark, settings, DAY, "night-2")
    assert versions(spark, settings) == {"dim_products": 0, "fct_orders": 0}


@pytest.mark.usefixtures("first_night")
def test_a_candidate_that_counts_its_versions_from_zero_again_is_moved(spark: SparkSession, settings: Settings) -> None:
    shutil.rmtree(candidate("fct_orders").path(settings))
    build(spark, settings, "fct_orders", 20, 21)
    assert publish(spark, settings, DAY, "night-2") == 1
    assert seen(spark, settings, "fct_orders") == [20, 21]


@pytest.mark.usefixtures("first_night")
def test_other_columns_replace_the_old_ones(spark: SparkSession, settings: Settings) -> None:
    build(spark, settings, "fct_orders", 10, 11, column="order_id")
    publish(spark, settings, DAY, "night-2")
    assert delta_io.read(spark, published("fct_orders"), settings).columns == ["order_id"]


@pytest.mark.usefixtures("first_night")
def test_a_copy_with_other_rows_is_refused_and_not_recorded(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(spark, settings, "fct_orders", 10, 11, 12)
    replace = delta_io.replace
    monkeypatch.setattr(delta_io, "replace", lambda frame, *rest: replace(frame.limit(1), *rest))
    with pytest.raises(StepFailed, match="has 1 rows after it was copied"):
        publish(spark, settings, DAY, "night-2")
    assert published_versions(settings) == {"gold.dim_products": 0, "gold.fct_orders": 0}


def test_before_the_first_publication_there_are_no_versions(settings: Settings) -> None:
    assert published_versions(settings) == {}


def test_a_run_id_outside_the_grammar_reaches_no_predicate(spark: SparkSession, settings: Settings) -> None:
    with pytest.raises(UnsafeIdentifier):
        publish(spark, settings, DAY, "x' or true --")
