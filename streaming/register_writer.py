"""Rows of `ops.click_objects`: written once for each batch, and kept in few files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import SparkSession

from lakehouse import delta_io, few_rows
from lakehouse.append import Append, KnownPositions
from lakehouse.delta_io import Mark
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_OBJECTS

COMPACT_EVERY = 50
"""Batches. Each adds a small file to a day, and a stream that starts reads all of its days' files."""


class RegisterWriter:
    """The one writer of the table: the clicks stream, whose lease is held."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._positions = KnownPositions()
        self._has_table = False

    def write(self, spark: SparkSession, rows: Sequence[Mapping[str, Any]], mark: Mark) -> None:
        """Write what the batch `mark` took (a value for each declared column), instead of what an earlier try of it
        took: that never got to Bronze, and an object may be gone by now, or be back.
        """
        if not self._has_table:
            delta_io.ensure(spark, CLICK_OBJECTS, self._settings)
            self._has_table = True
        append = Append(spark, CLICK_OBJECTS, self._settings)
        frame = few_rows.frame(spark, rows, CLICK_OBJECTS.schema)
        if self._positions.at(append).get(mark.application, -1) >= mark.batch:
            of_batch = f"_application = '{mark.application}' and _batch_id = {mark.batch}"
            delta_io.overwrite(frame, CLICK_OBJECTS, self._settings, where=of_batch)
            return
        append.write(frame)
        self._positions.commit(append, {mark.application: mark.batch}, "")
        # Not by Delta's own `autoCompact`: that looks through all of the table's files after each commit.
        if mark.batch % COMPACT_EVERY == COMPACT_EVERY - 1:
            delta_io.table(spark, CLICK_OBJECTS, self._settings).optimize().executeCompaction()
