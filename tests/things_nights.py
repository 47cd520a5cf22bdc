"""Bronze, to which changes of `things` arrive, and the merges of one home; attempts that are cut off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from change_logs import THINGS, Event
from pyspark.sql import SparkSession
from table_rows import frame

from batch import captured_tables, merge_write
from batch.forget_deletes import forget_deletes
from batch.rebuild import rebuild
from batch.replay import Replayed, replay
from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut


class Night:
    """Bronze and the merges of one home."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark, self.settings = spark, settings

    def land(self, *events: Event, **columns: Any) -> None:
        rows = [one.bronze() | columns for one in events]
        delta_io.append(frame(self.spark, THINGS.changes.schema, rows), THINGS.changes, self.settings)

    def merge(self, cut: SourceCut | None = None) -> int:
        return captured_tables.run(self.spark, self.settings, THINGS, cut)

    def replay(self, is_dry_run: bool = False) -> Replayed:
        return replay(self.spark, self.settings, THINGS, "ann", is_dry_run)

    def forget_deletes(self) -> int:
        """All that were merged so far."""
        return forget_deletes(self.spark, self.settings, THINGS, datetime(2026, 11, 24))

    def live(self) -> dict[int, str | None]:
        rows = delta_io.read(self.spark, THINGS.silver, self.settings).collect()
        return {row["id"]: row["note"] for row in rows}

    def versions(self) -> list[int]:
        return [delta_io.version(self.spark, spec, self.settings) for spec in THINGS.merged]

    def is_what_bronze_gives(self) -> bool:
        return all(one.agrees for one in rebuild(self.spark, self.settings, THINGS))


@contextmanager
def cut_off(point: int) -> Iterator[None]:
    """The merge inside the block ends when it comes between two of its commits for the `point`-th time."""
    calls: list[str] = []

    def die(name: str) -> None:
        calls.append(name)
        if len(calls) == point:
            raise RuntimeError("cut off")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_write, "reach", die)
        with pytest.raises(RuntimeError, match="cut off"):
            yield
