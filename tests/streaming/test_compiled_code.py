"""What Spark compiles of a stream: once for all batches, and one stage from a stock event to its judged row."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from kafka_rows import frame_of, framed, stock_event
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.contracts.declared import inventory_schema
from lakehouse.tables import INVENTORY_EVENTS
from quality.rules import INVENTORY_RULES, names_of_warnings
from streaming import click_events, inventory_events
from streaming.counts import counted, is_good
from streaming.object_lines import LINE
from streaming.plain_lines import READ
from streaming.queries import DRIVER_CONF
from streaming.stamps import in_all_rows, stamped
from streaming.writer_schemas import NEWEST_VERSIONS, WriterSchemas

KNOWN = WriterSchemas(values={7: inventory_schema()})
CLICK = '{"event_id":"e1","timestamp":"2026-11-23T11:59:59Z"}'
NOON = "2026-11-23 12:00:00"
UNREAD_LINE = LINE.replace(f"{READ}, ", "")
Judged = Callable[[SparkSession, int, str], DataFrame]


def of_batch(raw: DataFrame, batch: int, at: str) -> DataFrame:
    return stamped(raw, in_all_rows(raw, F.lit(at).cast("timestamp")), in_all_rows(raw, F.lit(batch)))


def inventory(spark: SparkSession, batch: int, at: str) -> DataFrame:
    rows = frame_of(spark, [framed(inventory_schema(), stock_event())]).drop("_ingested_at", "_batch_id")
    return inventory_events.transform(of_batch(rows, batch, at), KNOWN)


def clicks(spark: SparkSession, batch: int, at: str) -> DataFrame:
    row = (CLICK, 1, None, "s3://b/k", "etag", "topic", 0, 0, None)
    rows = spark.createDataFrame([row], UNREAD_LINE)
    return click_events.transform(of_batch(click_events.unread(rows), batch, at), KNOWN)


@pytest.mark.parametrize("judged", [inventory, clicks])
def test_a_second_batch_compiles_nothing(spark: SparkSession, judged: Judged) -> None:
    first = judged(spark, 1, "2026-11-23 12:00:00.000001")
    rows = first.collect()
    compiled = _compilations(spark)
    more = judged(spark, 2, "2026-11-23 12:00:05.000002").collect()
    assert _compilations(spark) == compiled
    assert [(row["_batch_id"], row["_ingested_at"].second) for row in (*rows, *more)] == [(1, 0), (2, 5)]


@pytest.mark.parametrize(("judged", "by_hand"), [(inventory, 0), (clicks, 1)])
def test_a_row_is_judged_within_one_compiled_stage(spark: SparkSession, judged: Judged, by_hand: int) -> None:
    """But for what reads the JSON of odd lines, which is no part of it."""
    plan = judged(spark, 1, "2026-11-23 12:00:00")._jdf.queryExecution().executedPlan().toString()
    projections = [line.lstrip(" +-:") for line in plan.splitlines() if "Project [" in line]
    # Spark marks what it compiles with a star and the number of the stage.
    assert len({one.split()[0] for one in projections if one.startswith("*")}) == 1
    assert len([one for one in projections if not one.startswith("*")]) == by_hand


def test_the_code_of_the_versions_that_are_learned_in_advance_is_short_enough_to_be_compiled(
    spark: SparkSession,
) -> None:
    more = {8 + one: _with_a_field_more(one) for one in range(NEWEST_VERSIONS - 1)}
    rows = frame_of(spark, []).drop("_ingested_at", "_batch_id")
    judged = inventory_events.transform(of_batch(rows, 1, NOON), WriterSchemas(values=KNOWN.values | more))
    seen, _ = counted(judged, "occurred_at", names_of_warnings(INVENTORY_RULES))
    good = seen.where(is_good()).select(*INVENTORY_EVENTS.columns)
    debug: Any = spark._jvm.org.apache.spark.sql.execution.debug  # type: ignore[union-attr]
    stages = (
        getattr(debug, "package$").__getattr__("MODULE$").codegenStringSeq(good._jdf.queryExecution().executedPlan())
    )
    sizes = [stages.apply(number)._3().maxMethodCodeSize() for number in range(stages.size())]
    assert 0 < max(sizes) <= int(DRIVER_CONF["spark.sql.codegen.hugeMethodLimit"])


def _with_a_field_more(number: int) -> str:
    schema = json.loads(inventory_schema())
    schema["fields"].append({"name": f"extra_{number}", "type": ["null", "string"], "default": None})
    return json.dumps(schema)


def _compilations(spark: SparkSession) -> int:
    metrics: Any = spark._jvm.org.apache.spark.metrics.source  # type: ignore[union-attr]
    return int(metrics.CodegenMetrics.METRIC_COMPILATION_TIME().getCount())


@pytest.mark.parametrize(("judged", "stages"), [(inventory, inventory_events._stages), (clicks, click_events._stages)])
def test_a_second_batch_makes_no_column_anew(spark: SparkSession, judged: Judged, stages: Any) -> None:
    judged(spark, 1, "2026-11-23 12:00:00")
    made = stages.cache_info().misses
    judged(spark, 2, "2026-11-23 12:00:05")
    assert stages.cache_info().misses == made
