"""The driver of the streams: starts the queries, waits, stops them cleanly."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack

from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from lakehouse import delta_io, lease, metrics, pushed_metrics, stop_signals
from lakehouse.errors import LakehouseError, StepFailed, full_disk_in
from lakehouse.lease import Held
from lakehouse.logs import get_logger
from lakehouse.session import build_session
from lakehouse.settings import Settings
from lakehouse.spark_conf import short_lived, spark_conf
from lakehouse.stream_progress import ProgressMetrics
from lakehouse.tables import CAPTURED, INVENTORY_EVENTS
from streaming import (
    beginning,
    changes,
    checkpoint,
    click_events,
    inventory_events,
    kafka_source,
    low_stock,
    object_reader,
    page_watch,
    quarantine_desk,
    source_markers,
)
from streaming.bronze_writer import BronzeStream, BronzeWriter
from streaming.object_lister import ObjectLister
from streaming.writer_schemas import Registry

log = get_logger(__name__)
STOP_SECONDS = 30.0
NEVER_REPEATED = ("event_id", "sequence", "occurred_at", "timestamp", "_offset", "_source_line")
TEXTS = ("event_id", "sku", "warehouse_id", "movement", "user_id", "session_id", "event_type", "page_url", "product_id")
"""Nobody looks for these by a range, and the smallest and largest of texts cost a comparison of bytes for each row."""
# Seven queries plan and run side by side on few cores; a fair share keeps a small batch from waiting for a large one.
DRIVER_CONF = {
    "spark.scheduler.mode": "FAIR",
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    # A batch is small and its plan never changes: planning it again between its stages only costs.
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.parquet.compression.codec": "lz4_raw",
    "spark.hadoop.parquet.size.statistics.enabled": "false",
    # Rows of a few days go to a file each as they come; without it, Spark sorts all of them by day first.
    "spark.sql.maxConcurrentOutputFileWriters": "8",
    # A dictionary of values that never repeat is built for each file and thrown away.
    **{f"spark.hadoop.parquet.enable.dictionary#{column}": "false" for column in NEVER_REPEATED},
    **{f"spark.hadoop.parquet.column.statistics.enabled#{column}": "false" for column in TEXTS},
    # The JVM leaves methods of more bytes uncompiled for ever; above it Spark makes several smaller ones. Three schema
    # versions of one topic get there.
    "spark.sql.codegen.hugeMethodLimit": "8000",
}


def streams(group: str, settings: Settings) -> tuple[BronzeStream, ...]:
    """The Bronze streams of `inventory`, `clicks`, `changes` or `all`."""
    groups = {
        "inventory": (inventory_events.stream(settings),),
        "clicks": (click_events.stream(settings),),
        "changes": (*(changes.stream(table, settings) for table in CAPTURED), source_markers.stream(settings)),
    }
    if group == "all":
        return tuple(stream for members in groups.values() for stream in members)
    return groups[group]


def lease_of(stream: BronzeStream) -> str:
    """Name of the lease that the driver of a stream holds."""
    return lease.of_stream(stream.spec.table)


def in_own_pool(spark: SparkSession, query: str) -> None:
    """The next query gets a fair share of the driver, instead of queueing behind the batches of the others."""
    spark.sparkContext.setLocalProperty("spark.scheduler.pool", query)


def start(
    spark: SparkSession,
    settings: Settings,
    stream: BronzeStream,
    registry: Registry,
    held: Held,
    until_caught_up: bool,
    accepted_gap: str = "",
) -> StreamingQuery:
    """Start one query under its lease; its name and checkpoint follow from the table.

    Raises `SourceHasGap`, unless an operator accepts the gap for a reason.
    """
    in_own_pool(spark, stream.spec.table)
    delta_io.ensure(spark, stream.spec, settings)
    starting = beginning.of(spark, settings, stream, accepted_gap)
    frame = kafka_source.read(spark, settings, stream.topics, starting, stream.offsets_per_batch, stream.reads_headers)
    writer = (
        frame.writeStream.queryName(stream.spec.table)
        .option("checkpointLocation", checkpoint.location(stream.spec, settings))
        .foreachBatch(BronzeWriter(settings, stream, registry, held))
    )
    if until_caught_up:
        return writer.trigger(availableNow=True).start()
    seconds = settings.trigger_seconds if stream.is_awaited else settings.relaxed_trigger_seconds
    return writer.trigger(processingTime=f"{seconds} seconds").start()


def run(
    settings: Settings, group: str, until_caught_up: bool, is_short_lived: bool = False, accepted_gap: str = ""
) -> None:
    """Run the streams of a group: for ever (until SIGTERM or Ctrl-C), or until they have caught up.

    With `accepted_gap` (an operator's reason) records that the source lost are passed over and written down.

    Raises `SourceHasGap`, which names the gaps of all streams of the group, before any of them is started; `LeaseHeld`
    when another driver runs one of them, `LeaseLost`, and our own error when a stream stops itself.
    """
    chosen = streams(group, settings)
    tables = [one.spec.table for one in chosen]
    with stop_signals.as_event() as stopping, ExitStack() as leases:
        held = _hold_all(leases, settings, chosen)
        conf = short_lived(spark_conf(settings)) if is_short_lived else {}
        spark = build_session(settings, f"lakehouse-stream-{group}", conf | DRIVER_CONF)
        has_clicks = any(stream.expand for stream in chosen)
        metrics.begin_at_zero(
            {one.spec.table: one.warning_rules for one in chosen}, object_reader.FAULTS if has_clicks else ()
        )
        metrics.serve(settings)
        if settings.metrics_port:
            spark.streams.addListener(ProgressMetrics())
        lister = ObjectLister(settings) if has_clicks else None
        if lister and until_caught_up:
            lister.announce_new()
        elif lister:
            threading.Thread(target=lister.run, args=(stopping,), name="object-lister", daemon=True).start()
        if group in ("changes", "all"):
            page_watch.start(settings, stopping, page_watch.slot)
        if group in ("inventory", "all"):
            page_watch.start(settings, stopping, page_watch.alerts)
        registry = Registry(settings, stopping)
        running: list[StreamingQuery] = []
        try:
            if not accepted_gap:
                beginning.require_no_gaps(spark, settings, chosen)
            for one in chosen:
                running.append(
                    start(spark, settings, one, registry, held[one.spec.table], until_caught_up, accepted_gap)
                )
            if not until_caught_up and group in ("inventory", "all"):
                in_own_pool(spark, "low_stock")
                running.append(low_stock.start(spark, settings, registry, held[INVENTORY_EVENTS.table]))
            log.info("streams_started", streams=[query.name for query in running], until_caught_up=until_caught_up)
            pushed_metrics.push_driver(settings, tables, has_stopped_itself=False)
            with quarantine_desk.open_for(spark, settings, chosen, registry, held, stopping):
                _wait(running, stopping, held, lister)
        except Exception:
            pushed_metrics.push_driver(settings, tables, has_stopped_itself=True)
            raise
        finally:
            stopping.set()
            _stop(running)
            spark.stop()


def catch_up(spark: SparkSession, settings: Settings, group: str = "all", accepted_gap: str = "") -> None:
    """Run the streams of a group inside a session that exists, until they have caught up. Raises as `run` does."""
    stopping = threading.Event()
    chosen = streams(group, settings)
    with ExitStack() as leases:
        held = _hold_all(leases, settings, chosen)
        if any(stream.expand for stream in chosen):
            ObjectLister(settings).announce_new()
        registry = Registry(settings, stopping)
        running: list[StreamingQuery] = []
        try:
            if not accepted_gap:
                beginning.require_no_gaps(spark, settings, chosen)
            for one in chosen:
                running.append(start(spark, settings, one, registry, held[one.spec.table], True, accepted_gap))
            _wait(running, stopping, held)
            quarantine_desk.serve(spark, settings, chosen, registry, held)
        finally:
            # One that stopped itself, or did not start, must not leave the others writing without their leases.
            _stop(running)


def _hold_all(leases: ExitStack, settings: Settings, chosen: Iterable[BronzeStream]) -> dict[str, Held]:
    """The lease of each stream, by its table, until the stack is closed."""
    return {one.spec.table: leases.enter_context(lease.hold(lease_of(one), settings)) for one in chosen}


def _wait(
    running: Sequence[StreamingQuery],
    stopping: threading.Event,
    held: Mapping[str, Held],
    lister: ObjectLister | None = None,
) -> None:
    while not stopping.wait(0.2):
        lease.require_all(held.values())
        if lister and lister.trouble:
            raise StepFailed(
                f"The landing bucket can't be listed any more, so clicks would be missed: {lister.trouble!r}."
            )
        for query in running:
            if not query.isActive and (trouble := query.exception()) is not None:
                raise _cause(query.name or "", trouble)
        if not any(query.isActive for query in running):
            return


def _cause(name: str, trouble: StreamingQueryException) -> LakehouseError:
    text = str(trouble)
    # Our own errors cross the JVM as text: give the sentence back without the two stack traces around it.
    for line in text.splitlines():
        kind, separator, sentence = line.strip().partition(": ")
        if separator and kind.startswith(("lakehouse.", "streaming.")):
            return StepFailed(f"The stream {name} stopped itself. {sentence}")
    # A row rule that stops the stream is raised inside of Spark.
    if rule := re.search(r"\[USER_RAISED_EXCEPTION\] (.*?)(?: SQLSTATE|$)", text, re.MULTILINE):
        return StepFailed(f"The stream {name} stopped itself. {rule[1]}")
    return StepFailed(f"The stream {name} stopped: {full_disk_in(text) or text[:2000]}")


def _stop(running: Sequence[StreamingQuery]) -> None:
    """Let batches that run end by themselves: an interrupted one would only be done again."""
    deadline = time.monotonic() + STOP_SECONDS
    for query in running:
        while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
            time.sleep(0.05)
        if query.isActive:
            query.stop()
    log.info("streams_stopped", streams=[query.name for query in running])
