"""The interleaved runs: ours, plain, ours, plain, ... in one warm driver, with equal results checked."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from pyspark.sql import DataFrame, SparkSession

from infra.bench import listing, plain, workload
from infra.bench.measure import Figures, delays, measured, percentile
from infra.bench.merging import MergeBench
from infra.bench.plan import VISIBLE_SECONDS, CountsDiffer, NotVisible, Plan
from infra.local import stack
from lakehouse import delta_io, lease
from lakehouse.session import build_session
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, INVENTORY_EVENTS, TableSpec
from streaming import queries
from streaming.object_lister import ObjectLister
from streaming.writer_schemas import Registry

OFFSETS_PER_BATCH = 2_000_000
SMALL_BATCH, SMALL_BATCHES = 100, 30


def run(plan: Plan) -> None:
    """Print medians and ratios of all comparisons. Raises `CountsDiffer`."""
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-bench-"))
    try:
        with stack.running(folder / "home", say=lambda _: None) as settings:
            spark = build_session(settings, "bench", queries.DRIVER_CONF | {"spark.driver.memory": "3g"})
            _run_parts(_Bench(spark, settings, folder, plan.rounds), plan)
            spark.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_parts(bench: _Bench, plan: Plan) -> None:
    if "inventory" in plan.parts:
        bench.inventory(plan.messages)
    if "small" in plan.parts:
        bench.small_batches()
    for rate in plan.rates if "freshness" in plan.parts else ():
        bench.freshness(rate, plan.seconds)
    for objects in plan.objects if "clicks" in plan.parts else ():
        bench.clicks(plan.megabytes, objects)
    for seen in plan.seen if "listing" in plan.parts else ():
        bench.listing(seen)
    if "merge" in plan.parts:
        bench.merging(plan.rows)


class _Bench:
    def __init__(self, spark: SparkSession, settings: Settings, folder: Path, rounds: int) -> None:
        self._spark, self._folder, self._rounds = spark, folder, rounds
        self._settings = settings.model_copy(update={"max_offsets_per_batch": OFFSETS_PER_BATCH})
        self._plain = plain.session(spark)
        self._runs = 0

    def inventory(self, messages: int) -> None:
        """Throughput of a backlog of Avro messages."""
        settings = self._on_topic("bench.backlog")
        click.echo(f"Writing {messages:,} inventory messages ...")
        workload.publish_inventory(settings, messages)
        pairs = self._pairs(
            "inventory Avro -> Bronze",
            messages,
            lambda: self._ours("inventory", INVENTORY_EVENTS, settings),
            lambda: self._theirs(lambda: plain.inventory(self._plain, settings)),
        )
        _print_throughput("inventory Avro -> Bronze", "records", messages, messages, pairs)

    def small_batches(self) -> None:
        """What a batch of a hundred rows costs, whatever it holds."""
        settings = self._on_topic("bench.small").model_copy(update={"max_offsets_per_batch": SMALL_BATCH})
        workload.publish_inventory(settings, SMALL_BATCH * SMALL_BATCHES)
        title = f"a batch of {SMALL_BATCH} rows"
        pairs = self._pairs(
            title,
            SMALL_BATCH * SMALL_BATCHES,
            lambda: self._ours("inventory", INVENTORY_EVENTS, settings),
            lambda: self._theirs(lambda: plain.inventory(self._plain, settings, SMALL_BATCH)),
        )
        for name in ("cpu", "wall"):
            ours, theirs = (statistics.median(getattr(pair[side], name) for pair in pairs) for side in (0, 1))
            ours, theirs = ours / SMALL_BATCHES, theirs / SMALL_BATCHES
            click.secho(
                f"{title}, {name} seconds: ours {ours:.3f}, plain {theirs:.3f}, {ours / theirs:.2f}x", bold=True
            )

    def freshness(self, rate: int, seconds: int) -> None:
        """Delay from an event to the commit that shows it, at a steady rate."""
        found = {}
        for side in ("ours", "plain"):
            settings = self._on_topic(f"bench.{side}.{rate}").model_copy(update={"home": self._next_folder()})
            with self._running(side, settings) as table:
                workload.publish_inventory(settings, 1)
                _wait_for_rows(table, 1)
                sent = workload.publish_at(settings, rate, seconds)
                _wait_for_rows(table, 1 + sent)
            found[side] = sorted(delays(table, "occurred_at"))[:sent]
        for share, name in ((0.5, "p50"), (0.99, "p99")):
            ours, theirs = percentile(found["ours"], share), percentile(found["plain"], share)
            text = f"event to queryable at {rate} events/s, {name}: ours {ours:.2f} s, plain {theirs:.2f} s"
            click.secho(f"{text}, {ours / theirs:.2f}x", bold=True)

    @contextmanager
    def _running(self, side: str, settings: Settings) -> Iterator[Path]:
        """A side's stream of inventory events for the time of the block; yields the folder of its table."""
        if side == "plain":
            table = settings.home / "table"
            query = plain.start(plain.inventory(self._plain, settings), str(table), until_caught_up=False)
            yield table
            query.stop()
            return
        (stream,) = queries.streams("inventory", settings)
        registry = Registry(settings, threading.Event())
        with lease.hold(queries.lease_of(stream), settings) as held:
            query = queries.start(self._spark, settings, stream, registry, held, until_caught_up=False)
            yield Path(INVENTORY_EVENTS.path(settings))
            query.stop()

    def clicks(self, megabytes: int, objects: int) -> None:
        """Throughput of a backlog of click objects."""
        name = f"clickstream JSON in {objects:,} objects -> Bronze"
        settings = self._on_topic(f"bench.objects.{objects}").model_copy(
            update={"click_objects_topic": f"bench.objects.{objects}", "landing_prefix": f"clicks-{objects}/"}
        )
        click.echo(f"Writing {megabytes} MB of clicks in {objects:,} objects ...")
        lines = workload.upload_clicks(settings, megabytes, objects)
        ObjectLister(settings).announce_new()
        pairs = self._pairs(
            name,
            lines,
            lambda: self._ours("clicks", CLICK_EVENTS, settings),
            lambda: self._theirs(lambda: plain.clicks(self._plain, settings)),
        )
        _print_throughput(name, "MB", megabytes, lines, pairs)

    def listing(self, seen: int) -> None:
        """LIST requests for each new object."""
        click.echo(f"Writing {seen:,} small objects ...")
        settings = self._on_topic(f"bench.listing.{seen}").model_copy(
            update={"click_objects_topic": f"bench.listing.{seen}", "landing_prefix": f"listing-{seen}/"}
        )
        found = listing.look(self._plain, settings, seen)
        text = f"LIST requests of a look that finds {listing.NEW} objects beside {seen:,} seen ones"
        click.secho(
            f"{text}: ours {found.ours} ({found.ours / listing.NEW:.1f} for each new object), plain {found.plain} "
            f"({found.plain / listing.NEW:.1f})",
            bold=True,
        )

    def merging(self, rows: int) -> None:
        """A night's changes into a large table."""
        settings = self._settings.model_copy(update={"home": self._next_folder()})
        MergeBench(self._spark, self._plain, settings, self._next_folder(), rows).run(self._rounds)

    def _pairs(
        self,
        title: str,
        rows: int,
        ours: Callable[[], tuple[Figures, int]],
        theirs: Callable[[], tuple[Figures, int]],
    ) -> list[tuple[Figures, Figures]]:
        """Both sides in turn; the first pair warms the driver and does not count."""
        found = []
        for number in range(self._rounds + 1):
            (our_figures, our_rows), (their_figures, their_rows) = ours(), theirs()
            if not our_rows == their_rows == rows:
                raise CountsDiffer(title, our_rows, their_rows, rows)
            label = f"pair {number}" if number else "first pair (cold)"
            ratio = their_figures.cpu / our_figures.cpu
            click.echo(
                f"  {title}, {label}: ours {our_figures.cpu:.1f}, plain {their_figures.cpu:.1f} CPU-s, {ratio:.2f}x"
            )
            found += [(our_figures, their_figures)] if number else []
        return found

    def _ours(self, group: str, spec: TableSpec, settings: Settings) -> tuple[Figures, int]:
        settings = settings.model_copy(update={"home": self._next_folder()})
        registry = Registry(settings, threading.Event())

        def job() -> None:
            for stream in queries.streams(group, settings):
                with lease.hold(queries.lease_of(stream), settings) as held:
                    query = queries.start(self._spark, settings, stream, registry, held, until_caught_up=True)
                    query.awaitTermination()

        figures = measured(job)
        return figures, delta_io.read(self._spark, spec, settings).count()

    def _theirs(self, frame: Callable[[], DataFrame]) -> tuple[Figures, int]:
        target = str(self._next_folder() / "table")
        figures = measured(lambda: _await(plain.start(frame(), target, until_caught_up=True)))
        return figures, self._plain.read.format("delta").load(target).count()

    def _on_topic(self, name: str) -> Settings:
        workload.create_topic(self._settings, name)
        return self._settings.model_copy(update={"inventory_topic": name})

    def _next_folder(self) -> Path:
        self._runs += 1
        folder = self._folder / f"run-{self._runs}"
        folder.mkdir()
        return folder


def _await(query: object) -> None:
    query.awaitTermination()  # type: ignore[attr-defined]


def _wait_for_rows(table: Path, rows: int) -> None:
    deadline = time.monotonic() + VISIBLE_SECONDS
    while (found := len(delays(table, "occurred_at"))) < rows:
        if time.monotonic() > deadline:
            raise NotVisible(table, rows, found)
        time.sleep(0.5)


def _print_throughput(title: str, unit: str, amount: int, rows: int, pairs: list[tuple[Figures, Figures]]) -> None:
    ours, theirs = (statistics.median(amount / pair[side].cpu for pair in pairs) for side in (0, 1))
    ratios = sorted(theirs.cpu / ours.cpu for ours, theirs in pairs)
    click.secho(f"{title}: {rows:,} rows on both sides, {len(pairs)} pairs after one warm-up pair", bold=True)
    click.echo(f"  ours   {ours:>12,.1f} {unit} per CPU-second (all promises on)")
    click.echo(f"  plain  {theirs:>12,.1f} {unit} per CPU-second (no promise)")
    click.echo(f"  ratio  {statistics.median(ratios):>12.2f}x (from {ratios[0]:.2f} to {ratios[-1]:.2f})")
