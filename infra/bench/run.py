"""The interleaved run: ours, plain, ours, plain, ... in one warm driver; CPU-seconds of the driver's processes."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
from pyspark.sql import SparkSession

from infra.bench import plain, workload
from infra.local import stack
from lakehouse import delta_io
from lakehouse.errors import LakehouseError
from lakehouse.session import build_session
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, INVENTORY_EVENTS, TableSpec
from streaming import queries
from streaming.object_lister import ObjectLister
from streaming.writer_schemas import Registry


class CountsDiffer(LakehouseError):
    """The two sides did not write the same number of rows: their figures can't be compared."""

    def __init__(self, name: str, ours: int, theirs: int, expected: int) -> None:
        super().__init__(f"{name}: ours wrote {ours} rows, plain {theirs}, expected {expected}: no figure counts.")


@dataclass(frozen=True)
class Figures:
    """One timed run: CPU-seconds of the driver (JVM and Python) and wall seconds."""

    cpu: float
    wall: float


def run(messages: int, megabytes: int, objects: int, rounds: int) -> None:
    """Print the medians and ratios of both comparisons. Raises `CountsDiffer`."""
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-bench-"))
    try:
        with stack.running(folder / "home", say=lambda _: None) as settings:
            click.echo(f"Writing {messages:,} inventory messages and {megabytes} MB of clicks in {objects} objects ...")
            workload.publish_inventory(settings, messages)
            lines = workload.upload_clicks(settings, megabytes, objects)
            spark = build_session(settings, "bench", queries.DRIVER_CONF | {"spark.driver.memory": "3g"})
            bench = _Bench(spark, settings, folder, rounds)
            bench.compare("inventory Avro -> Bronze", "inventory", INVENTORY_EVENTS, messages, "records", messages)
            bench.compare("clickstream JSON -> Bronze", "clicks", CLICK_EVENTS, lines, "MB", megabytes)
            spark.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Bench:
    def __init__(self, spark: SparkSession, settings: Settings, folder: Path, rounds: int) -> None:
        self._spark, self._settings, self._folder, self._rounds = spark, settings, folder, rounds
        self._runs = 0

    def compare(self, title: str, group: str, spec: TableSpec, rows: int, unit: str, amount: int) -> None:
        """Interleave both sides (one warm-up pair first), check their counts, print medians and ratios."""
        theirs_job = {"inventory": plain.inventory, "clicks": plain.clicks}[group]
        if group == "clicks":
            ObjectLister(self._settings).announce_new()
        ours, theirs = [], []
        for number in range(self._rounds + 1):
            ours_figures, ours_rows = self._ours(group, spec)
            their_figures, their_rows = self._theirs(theirs_job)
            if not ours_rows == their_rows == rows:
                raise CountsDiffer(title, ours_rows, their_rows, rows)
            label = "first pair (cold)" if number == 0 else f"pair {number}"
            ratio = their_figures.cpu / ours_figures.cpu
            click.echo(
                f"  {title}, {label}: ours {ours_figures.cpu:.1f}, plain {their_figures.cpu:.1f} CPU-s, {ratio:.2f}x"
            )
            if number:
                ours.append(ours_figures)
                theirs.append(their_figures)
        self._print(title, unit, amount, rows, ours, theirs)

    def _ours(self, group: str, spec: TableSpec) -> tuple[Figures, int]:
        home = self._next_folder()
        settings = self._settings.model_copy(update={"home": home, "max_offsets_per_batch": 2_000_000})
        registry = Registry(settings, threading.Event())

        def job() -> None:
            for stream in queries.streams(group, settings):
                query = queries.start(self._spark, settings, stream, registry, until_caught_up=True)
                query.awaitTermination()

        figures = _measured(job)
        return figures, delta_io.read(self._spark, spec, settings).count()

    def _theirs(self, job: Callable[[SparkSession, Settings, str], None]) -> tuple[Figures, int]:
        target = str(self._next_folder() / "table")
        session = plain.session(self._spark)
        figures = _measured(lambda: job(session, self._settings, target))
        return figures, session.read.format("delta").load(target).count()

    def _next_folder(self) -> Path:
        self._runs += 1
        return self._folder / f"run-{self._runs}"

    def _print(self, title: str, unit: str, amount: int, rows: int, ours: list[Figures], theirs: list[Figures]) -> None:
        our_speed = statistics.median(amount / one.cpu for one in ours)
        their_speed = statistics.median(amount / one.cpu for one in theirs)
        ratios = sorted(their.cpu / our.cpu for our, their in zip(ours, theirs, strict=True))
        click.secho(f"{title}: {rows:,} rows on both sides, {len(ours)} pairs after one warm-up pair", bold=True)
        click.echo(f"  ours   {our_speed:>12,.1f} {unit} per CPU-second (all promises on)")
        click.echo(f"  plain  {their_speed:>12,.1f} {unit} per CPU-second (no promise)")
        click.echo(f"  ratio  {statistics.median(ratios):>12.2f}x (from {ratios[0]:.2f} to {ratios[-1]:.2f})")


def _measured(job: Callable[[], None]) -> Figures:
    before, began = _cpu_seconds(), time.monotonic()
    job()
    return Figures(_cpu_seconds() - before, time.monotonic() - began)


def _cpu_seconds() -> float:
    """User and system time of this process and of everything below it (the JVM, Python workers)."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total
