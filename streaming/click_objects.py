"""Notifications (Kafka rows) -> the lines of the objects that they name, each version of an object once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark import Accumulator
from pyspark.accumulators import _accumulatorRegistry
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import ArrayType, StructField, StructType

from lakehouse import metrics
from lakehouse.delta_io import Mark
from lakehouse.kill_points import reach
from lakehouse.object_store import store_of
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_OBJECTS
from lakehouse.tables.columns import columns
from streaming import object_notifications
from streaming.expansion import Expanded, Taken, TakenObject
from streaming.object_lines import LINE, Outcome
from streaming.object_notifications import NotifiedObject, key_date
from streaming.object_reader import ITEM, Outcomes, line_reader
from streaming.object_register import SETTLED, Register, Version, version_of
from streaming.plain_lines import NESTING
from streaming.register_writer import RegisterWriter

OBJECT_COST_BYTES = 256 * 1024
"""What a request costs beside its bytes, in bytes that could be read meanwhile: balances tasks of small objects."""
ITEMS = StructType([StructField("items", ArrayType(columns(ITEM)))])


class ClickObjects:
    """The objects of the landing prefix, as one stream takes them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._register = Register(settings)
        self._writer = RegisterWriter(settings)
        self._last: Accumulator[dict[int, Outcome]] | None = None

    def read_objects(self, notifications: DataFrame, mark: Mark) -> Expanded:
        """One row per line of each object that Bronze does not hold yet: `streaming.object_lines.LINE`.

        Lines are counted from 1; an object that can't be read, and a notification that names none, is one row with its
        name in `_object_fault`. `mark` is the batch's own: what an earlier try of it took counts as not taken.
        """
        spark = notifications.sparkSession
        records = notifications.select("value", "topic", "partition", "offset", "timestamp").collect()
        named = [(record, self._said_by(record["value"])) for record in records]
        known = self._register.known((one for _, said in named for one in said.objects), mark)
        items, objects = _items(named, known)
        if self._last is not None:
            # PySpark keeps each accumulator for as long as the driver lives. No job of the batch before runs any more.
            _accumulatorRegistry.pop(self._last.aid, None)
        outcomes = self._last = spark.sparkContext.accumulator({}, Outcomes())
        counts = Taken(
            redelivered=sum(len(said.objects) for _, said in named) - len(objects),
            bad_notifications=sum(said.is_bad for _, said in named),
            ignored=Counter(name for _, said in named for name in said.ignored),
        )
        taken = partial(_taken, objects, outcomes, counts)
        return Expanded(
            frame=_lines(spark, items, self._settings, outcomes),
            notifications=len(records),
            taken=taken,
            remember=lambda of: self._remember(spark, taken(), of, items),
        )

    def _said_by(self, value: bytes | None) -> object_notifications.Notification:
        bucket, prefix = self._settings.landing_bucket, self._settings.landing_prefix
        return object_notifications.read(value, bucket, prefix)

    def _remember(self, spark: SparkSession, taken: Taken, mark: Mark, items: list[dict[str, Any]]) -> None:
        places = {(one["_source_file"], one.get("etag"), one["size"]): one for one in items}
        rows = []
        for one in taken.objects:
            place = places[one.address, one.etag, one.size]
            row = (
                key_date(place["key"]),
                *(one.address, one.etag, one.size, one.lines, one.outcome),
                *(place["_topic"], place["_partition"], place["_offset"], mark.application, mark.batch),
            )
            rows.append(dict(zip(CLICK_OBJECTS.columns, row, strict=True)))
        if rows:
            self._writer.write(spark, rows, mark)
        settled = {(one.address, one.etag, one.size) for one in taken.objects if one.outcome in SETTLED}
        self._register.add(mark, settled)
        metrics.count_objects(taken.outcomes)
        reach("between_objects_and_bronze")


def _items(
    named: Iterable[tuple[Any, object_notifications.Notification]], known: set[Version]
) -> tuple[list[dict[str, Any]], dict[int, NotifiedObject]]:
    """What there is to read, and of it the objects by their number. The first of repeated notifications counts."""
    items: list[dict[str, Any]] = []
    objects: dict[int, NotifiedObject] = {}
    taken = set(known)
    for record, said in named:
        place = {
            "notification": record["value"],
            "_topic": record["topic"],
            "_partition": record["partition"],
            "_offset": record["offset"],
            # Spark gives a moment as one of this machine's zone, and Arrow would take it for one of UTC.
            "_kafka_at": record["timestamp"].astimezone(UTC),
        }
        if said.is_bad:
            origin = {"_source_file": f"{record['topic']}/{record['partition']}", "_source_line": record["offset"]}
            items.append({"number": len(items), "size": 0, "fault": "bad_notification", **origin, **place})
        for one in said.objects:
            if version_of(one) not in taken:
                taken.add(version_of(one))
                objects[len(items)] = one
                origin = {"_source_file": one.address, "_source_line": 0}
                items.append({"number": len(items), **vars(one), **origin, **place})
    return items, objects


def _lines(
    spark: SparkSession, items: list[dict[str, Any]], settings: Settings, outcomes: Accumulator[dict[int, Outcome]]
) -> DataFrame:
    shares = _shares(items, spark.sparkContext.defaultParallelism)
    longest = settings.max_record_bytes if settings.max_json_nesting >= NESTING else 0
    reader = line_reader(store_of(settings), outcomes, longest)
    # By Arrow, one batch for a task: rows of Python pass through Python workers on their way to the JVM.
    schema = to_arrow_schema(ITEMS)
    batches = [pa.RecordBatch.from_pylist([{"items": share}], schema) for share in shares]
    return spark.createDataFrame(pa.Table.from_batches(batches, schema)).mapInArrow(reader, LINE)


def _shares(items: list[dict[str, Any]], tasks: int) -> list[list[dict[str, Any]]]:
    """As many shares as tasks, alike in cost: the largest object first, each to the lightest share."""
    shares: list[list[dict[str, Any]]] = [[] for _ in range(tasks)]
    costs = [0] * tasks
    for item in sorted(items, key=lambda one: -one["size"]):
        lightest = costs.index(min(costs))
        shares[lightest].append(item)
        costs[lightest] += item["size"] + OBJECT_COST_BYTES
    return shares


def _taken(objects: dict[int, NotifiedObject], outcomes: Accumulator[dict[int, Outcome]], counts: Taken) -> Taken:
    found = outcomes.value
    told = [(one, *found[number]) for number, one in objects.items()]
    return Taken(
        tuple(TakenObject(one.address, one.etag, one.size, lines, fault or "read") for one, lines, fault in told),
        counts.redelivered,
        counts.bad_notifications,
        counts.ignored,
    )
