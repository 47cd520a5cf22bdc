"""The register holds what each batch took once, in few files."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakehouse import delta_io
from lakehouse.delta_io import Mark
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_OBJECTS
from streaming import register_writer
from streaming.register_writer import RegisterWriter

DAY = date(2026, 11, 23)


def row(address: str) -> dict[str, Any]:
    return dict.fromkeys(CLICK_OBJECTS.columns) | {"landed_on": DAY, "address": address, "size_bytes": 1}


def addresses(spark: SparkSession, settings: Settings) -> list[str]:
    return sorted(one["address"] for one in delta_io.read(spark, CLICK_OBJECTS, settings).collect())


def test_a_batch_is_written_once_also_by_a_driver_that_starts_again(spark: SparkSession, settings: Settings) -> None:
    writer = RegisterWriter(settings)
    writer.append(spark, [row("a")], Mark("stream", 0))
    writer.append(spark, [row("b"), row("c")], Mark("stream", 1))
    for again in (writer, RegisterWriter(settings)):
        again.append(spark, [row("b"), row("c")], Mark("stream", 1))
    # Another checkpoint is another stream: its numbers begin anew.
    RegisterWriter(settings).append(spark, [row("d")], Mark("other", 0))
    assert addresses(spark, settings) == ["a", "b", "c", "d"]


def test_small_files_become_one_from_time_to_time(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_writer, "COMPACT_EVERY", 3)
    writer = RegisterWriter(settings)
    files = []
    for batch in range(4):
        writer.append(spark, [row(str(batch))], Mark("stream", batch))
        files.append(len(delta_io.read(spark, CLICK_OBJECTS, settings).inputFiles()))
    assert files == [1, 2, 1, 2]
    writer.append(spark, [row("3")], Mark("stream", 3))
    assert addresses(spark, settings) == ["0", "1", "2", "3"]
