"""What the bench measures with: processor time of the driver, and the delay from an event to its commit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import psutil
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Figures:
    """One timed run: CPU-seconds of the driver (JVM and Python) and wall seconds."""

    cpu: float
    wall: float


def measured(job: Callable[[], None]) -> Figures:
    """Run the job and measure it."""
    before, began = _cpu_seconds(), time.monotonic()
    job()
    return Figures(_cpu_seconds() - before, time.monotonic() - began)


def _cpu_seconds() -> float:
    """User and system time of this process and of the driver's JVM and Python workers below it."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *_drivers(me)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def _drivers(me: psutil.Process) -> list[psutil.Process]:
    # The embedded stack runs below this process too, and is no part of either side.
    jvms = [one for one in me.children() if any("SparkSubmit" in word for word in one.cmdline())]
    return [*jvms, *(worker for jvm in jvms for worker in jvm.children(recursive=True))]


def delays(table: Path, event_time: str) -> list[float]:
    """Per row of a Delta table: seconds from its event time to the commit that made it visible.

    Read from the log and the files alone, so that both sides are measured the same way.
    """
    found: list[float] = []
    for commit in sorted((table / "_delta_log").glob("*.json")):
        visible_at = commit.stat().st_mtime
        for line in commit.read_text().splitlines():
            added = json.loads(line).get("add")
            if added:
                times = pq.read_table(table / added["path"], columns=[event_time])[event_time]
                moments = cast(list[datetime], times.cast(pa.timestamp("us")).to_pylist())
                found += [visible_at - one.replace(tzinfo=UTC).timestamp() for one in moments]
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share (0 to 1) of the values lies; nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
