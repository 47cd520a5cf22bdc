"""A column that is declared later lands in a table that is there, and is null in the rows before it."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import SparkSession

from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec
from lakehouse.tables.columns import columns


def test_a_column_that_is_declared_later_is_null_in_the_rows_before_it(spark: SparkSession, settings: Settings) -> None:
    before = TableSpec("bronze.grows", columns("id int, image struct<a:int>"), ("id",), "A table that grows.")
    after = replace(before, schema=columns("id int, image struct<a:int,b:string>, note string"))
    delta_io.append(spark.createDataFrame([(1, (1,))], before.schema), before, settings)
    delta_io.append(spark.createDataFrame([(2, (2, "b"), "n")], after.schema), after, settings)
    rows = delta_io.read(spark, after, settings).orderBy("id").collect()
    assert [(row["id"], row["image"]["b"], row["note"]) for row in rows] == [(1, None, None), (2, "b", "n")]
    delta_io.ensure(spark, after, settings)
    assert delta_io.version(spark, after, settings) == 3


def test_a_table_that_grows_takes_the_declared_statistics(spark: SparkSession, settings: Settings) -> None:
    statistics = "delta.dataSkippingStatsColumns"
    before = TableSpec("bronze.grows", columns("id int"), ("id",), "A table that grows.", properties={statistics: "id"})
    after = replace(before, schema=columns("id int, note string"), properties={statistics: "id,note"})
    delta_io.ensure(spark, before, settings)
    delta_io.ensure(spark, after, settings)
    found = delta_io.table(spark, after, settings).detail().select("properties").first()
    assert found is not None
    assert found["properties"][statistics] == "id,note"
