"""The low-stock query: inventory events -> episodes per (sku, warehouse) -> `ops.alerts` -> the alerts topic.

An episode opens at the reorder point, escalates at zero and closes above a higher clear level; each is one alert.
Transitions are written to Delta first and published after, so that a crash between the two publishes them again under
the same id, and the notifier sends each id once.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from typing import Any

from confluent_kafka import Producer
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from lakehouse import delta_io
from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.lease import Held
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import ALERTS, INVENTORY_EVENTS
from lakehouse.tables.gold import REORDER_POINTS
from streaming import beginning, checkpoint, inventory_events, kafka_source
from streaming.counts import Counts, counted, is_good
from streaming.episodes import Episode, Level, step
from streaming.stamps import stamped
from streaming.writer_schemas import Registry, WriterSchemas, learn, learn_in_advance

log = get_logger(__name__)
THRESHOLDS_SECONDS = 60.0
SEEN_DAYS = 7
"""A start looks so far back for the sequences that are known already."""
PUBLISHED_AT_ONCE = 10_000
"""The producer's queue takes 100,000 messages, and refuses more."""
NEEDED = ("sku", "warehouse_id", "on_hand", "sequence", "occurred_at", "_offset")
Key = tuple[str, str]
"""SKU and warehouse."""


class LowStock:
    """The `foreachBatch` function of the low-stock query."""

    def __init__(self, spark: SparkSession, settings: Settings, registry: Registry, held: Held) -> None:
        self._settings = settings
        self._held = held
        self._registry = registry
        self._schemas = learn_in_advance((settings.inventory_topic,), registry)
        self._producer = Producer(client_config(settings) | {"enable.idempotence": True, "linger.ms": 2})
        self._reorder_points: dict[Key, int] = {}
        self._look_again_at = 0.0
        self._is_first_batch = True
        self._episodes = _remembered(delta_io.read(spark, ALERTS, settings))
        for key, sequence in _seen(spark, settings).items():
            known = self._episodes.get(key, Episode(sequence))
            self._episodes[key] = replace(known, sequence=max(known.sequence, sequence))

    def __call__(self, batch: DataFrame, batch_id: int) -> None:
        """Fold the levels of a batch into their episodes; write the transitions, then publish them."""
        spark = batch.sparkSession
        if self._is_first_batch:
            # The batch before a crash may have been written and not published. Known ids are sent once by the notifier.
            self._publish(_alerts_of(spark, self._settings, batch_id))
        self._refresh_reorder_points(spark)
        alerts, moved = self._fold(self._levels(spark, batch), batch_id)
        if alerts:
            # What the table holds already the fold does not give again: it began at the newest alert of each key. A
            # batch's number would say less, for a restored checkpoint counts the same numbers over other events.
            rows = [tuple(one[name] for name in ALERTS.columns) for one in alerts]
            self._held.require()
            delta_io.append(spark.createDataFrame(rows, ALERTS.schema), ALERTS, self._settings)
        self._episodes |= moved
        if alerts:
            self._publish(alerts)
            log.info("alerts_published", batch=batch_id, alerts=[f"{one['kind']} {one['sku']}" for one in alerts])
        self._is_first_batch = False

    def _levels(self, spark: SparkSession, batch: DataFrame) -> list[Level]:
        """The turning points of the good events of a batch; learns schemas that it meets."""
        while True:
            good, counts = good_events(batch, self._schemas, self._settings.max_record_bytes)
            levels = self._turning_points(spark, good)
            # What is too long is rejected whoever wrote it: nobody waits for the registry because of it.
            readable = batch.where(F.length("value") <= self._settings.max_record_bytes)
            if not (counts().doubtful and learn(readable, self._schemas, self._registry)):
                return levels

    def _turning_points(self, spark: SparkSession, good: DataFrame) -> list[Level]:
        """The first and the last level of each run of a key in one zone (empty, low, between, clear), in the order of
        their sequences.

        The fold stays small however large the backlog is, and gives the kinds of alerts that all levels would give. The
        first level of a run is the one that changes an episode; where it comes too late to count, the last one does,
        and it says how far the key is known.
        """
        points = spark.createDataFrame(
            [(sku, warehouse, point) for (sku, warehouse), point in self._reorder_points.items()],
            "sku string, warehouse_id string, reorder_point int",
        )
        joined = good.join(F.broadcast(points), on=["sku", "warehouse_id"], how="left")
        reorder_point = F.coalesce("reorder_point", F.lit(self._settings.low_stock_default_reorder_point))
        on_hand = F.col("on_hand")
        zone = (
            F.when(on_hand <= 0, "empty")
            .when(on_hand <= reorder_point, "low")
            .when(on_hand > reorder_point * self._settings.low_stock_clear_factor, "clear")
            .otherwise("between")
        )
        in_order = Window.partitionBy("sku", "warehouse_id").orderBy("sequence", "_offset")
        zoned = joined.withColumn("zone", zone).withColumns(
            {"zone_before": F.lag("zone").over(in_order), "zone_after": F.lead("zone").over(in_order)}
        )
        is_first = ~F.col("zone").eqNullSafe(F.col("zone_before"))
        is_last = ~F.col("zone").eqNullSafe(F.col("zone_after"))
        turning = zoned.where(is_first | is_last).orderBy("sequence", "_offset")
        rows = turning.select("sku", "warehouse_id", "on_hand", "sequence", "occurred_at").collect()
        return [Level(*row) for row in rows]

    def _fold(self, levels: Iterable[Level], batch_id: int) -> tuple[list[dict[str, Any]], dict[Key, Episode]]:
        """The alerts that levels cause, and the episodes that they change, which count when the alerts are written."""
        alerts, moved = [], dict[Key, Episode]()
        for level in levels:
            key = (level.sku, level.warehouse_id)
            reorder_point = self._reorder_points.get(key, self._settings.low_stock_default_reorder_point)
            before = moved.get(key, self._episodes.get(key))
            after, kind = step(before, level, reorder_point, reorder_point * self._settings.low_stock_clear_factor)
            moved[key] = after
            if kind:
                opened_at = after.opened_at_sequence if after.opened_at_sequence is not None else _opening(before)
                alerts.append(_alert(level, kind, opened_at, reorder_point, batch_id))
        return alerts, moved

    def _refresh_reorder_points(self, spark: SparkSession) -> None:
        if time.monotonic() < self._look_again_at:
            return
        self._look_again_at = time.monotonic() + THRESHOLDS_SECONDS
        if delta_io.exists(spark, REORDER_POINTS, self._settings):
            rows = delta_io.read(spark, REORDER_POINTS, self._settings).collect()
            self._reorder_points = {(row["sku"], row["warehouse_id"]): row["reorder_point"] for row in rows}

    def _publish(self, alerts: list[dict[str, Any]]) -> None:
        for begin in range(0, len(alerts), PUBLISHED_AT_ONCE):
            self._publish_part(alerts[begin : begin + PUBLISHED_AT_ONCE])

    def _publish_part(self, alerts: list[dict[str, Any]]) -> None:
        failures: list[str] = []
        for alert in alerts:
            message = {name: value for name, value in alert.items() if not name.startswith("_")}
            self._producer.produce(
                self._settings.alerts_topic,
                key=alert["episode_id"].encode(),
                value=json.dumps(message, default=_iso).encode(),
                on_delivery=lambda error, _: failures.append(str(error)) if error else None,
            )
        if self._producer.flush(30) or failures:
            raise ServiceUnreachable(
                "Kafka", self._settings.kafka_bootstrap_servers, f"Alerts were not taken: {failures[:1]}"
            )


def start(spark: SparkSession, settings: Settings, registry: Registry, held: Held) -> StreamingQuery:
    """Start the query under the lease of the inventory stream.

    It reads Kafka itself, so that an alert does not wait for Bronze.
    """
    saved, topic = checkpoint.location(ALERTS, settings), settings.inventory_topic
    # Bronze stops at a gap until somebody accepts it; then this query must not stop for ever at the same one.
    delta_io.ensure(spark, ALERTS, settings)
    held.require()
    starting = beginning.behind_losses(spark, settings, ALERTS, topic)
    frame = kafka_source.read(spark, settings, (topic,), starting)
    return (
        frame.writeStream.queryName("low_stock")
        .option("checkpointLocation", saved)
        .foreachBatch(LowStock(spark, settings, registry, held))
        .trigger(processingTime=f"{settings.trigger_seconds} seconds")
        .start()
    )


def good_events(batch: DataFrame, schemas: WriterSchemas, max_bytes: int) -> tuple[DataFrame, Callable[[], Counts]]:
    """What is `NEEDED` of the good ones among Kafka rows, and the counts of all, to be asked after they were read;
    `doubtful` are those of a schema that is not known.

    Bronze keeps account of the rows; the counting is here for what it does besides: without it Spark filters the events
    before it projects them, and decodes each of them twice.
    """
    judged = inventory_events.transform(stamped(batch, F.col("timestamp"), F.lit(0)), schemas, max_bytes)
    is_unknown = ~is_good() & ~F.coalesce(F.col("_schema_id").isin(list(schemas.values)), F.lit(True))
    seen, counts = counted(judged.select(*NEEDED, "_schema_id", "_is_good"), "occurred_at", doubtful=is_unknown)
    return seen.where(is_good()), counts


def _opening(before: Episode | None) -> int:
    assert before is not None
    assert before.opened_at_sequence is not None, "an episode closes only after it was opened"
    return before.opened_at_sequence


def _alert(level: Level, kind: str, opened_at: int, reorder_point: int, batch_id: int) -> dict[str, Any]:
    episode = _digest(level.sku, level.warehouse_id, opened_at)
    return {
        "alert_id": _digest(episode, kind),
        "episode_id": episode,
        "kind": kind,
        "sku": level.sku,
        "warehouse_id": level.warehouse_id,
        "on_hand": level.on_hand,
        "reorder_point": reorder_point,
        "sequence": level.sequence,
        "opened_at_sequence": opened_at,
        "occurred_at": level.occurred_at,
        "detected_at": datetime.now(UTC).replace(tzinfo=None),
        "_batch_id": batch_id,
    }


def _digest(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:16]


def _iso(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat(timespec="milliseconds") + "Z"


def _remembered(alerts: DataFrame) -> dict[Key, Episode]:
    newest = alerts.groupBy("sku", "warehouse_id").agg(
        F.max_by(F.struct("kind", "sequence", "opened_at_sequence", "on_hand"), F.col("sequence")).alias("last"),
    )
    found = {}
    for row in newest.select("sku", "warehouse_id", "last.*").collect():
        is_open = row["kind"] != "closed"
        found[row["sku"], row["warehouse_id"]] = Episode(
            row["sequence"],
            row["opened_at_sequence"] if is_open else None,
            is_escalated=is_open and (row["kind"] == "escalated" or row["on_hand"] <= 0),
        )
    return found


def _seen(spark: SparkSession, settings: Settings) -> dict[Key, int]:
    """The highest sequence of each key that batches of before have folded, as far as Bronze has it.

    What lies beyond the checkpoint's newest batch is still to be folded: an alert would be lost.
    """
    done = checkpoint.committed_positions(spark, checkpoint.location(ALERTS, settings))
    if not done or not delta_io.exists(spark, INVENTORY_EVENTS, settings):
        return {}
    of_partitions = [
        (F.col("_topic") == topic) & (F.col("_partition") == partition) & (F.col("_offset") < end)
        for (topic, partition), end in done.items()
    ]
    # So that a start reads no more than the newest files, however long Bronze has grown.
    is_recent = F.col("_ingested_at") >= F.current_timestamp() - F.expr(f"INTERVAL {SEEN_DAYS} DAYS")
    # Replayed rows are those that the query did not take.
    was_folded = is_recent & F.col("_replayed_at").isNull() & reduce(Column.__or__, of_partitions)
    events = delta_io.read(spark, INVENTORY_EVENTS, settings).where(was_folded)
    newest = events.groupBy("sku", "warehouse_id").agg(F.max("sequence")).collect()
    return {(sku, warehouse): sequence for sku, warehouse, sequence in newest}


def _alerts_of(spark: SparkSession, settings: Settings, batch_id: int) -> list[dict[str, Any]]:
    found = delta_io.read(spark, ALERTS, settings).where(F.col("_batch_id") == batch_id)
    return [row.asDict() for row in found.orderBy("sequence").collect()]
