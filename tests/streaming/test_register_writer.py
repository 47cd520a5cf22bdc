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


def row(address: str, batch: int, application: str = "stream") -> dict[str, Any]:
    named = {"landed_on": DAY, "address": address, "size_bytes": 1, "_application": application, "_batch_id": batch}
    return dict.fromkeys(CLICK_OBJECTS.columns) | named


def addresses(spark: SparkSession, settings: Settings) -> list[str]:
    return sorted(one["address"] for one in delta_io.read(spark, CLICK_OBJECTS, settings).collect())


def test_a_batch_is_written_once_also_by_a_driver_that_starts_again(spark: SparkSession, settings: Settings) -> None:
    writer = RegisterWriter(settings)
    writer.write(spark, [row("a", 0)], Mark("stream", 0))
    writer.write(spark, [row("b", 1), row("c", 1)], Mark("stream", 1))
    for again in (writer, RegisterWriter(settings)):
        again.write(spark, [row("b", 1), row("c", 1)], Mark("stream", 1))
    # Another checkpoint is another stream: its numbers begin anew.
    RegisterWriter(settings).write(spark, [row("d", 0, "other")], Mark("other", 0))
    assert addresses(spark, settings) == ["a", "b", "c", "d"]
    # What the second try took is what there is; the next batch goes on behind it.
    RegisterWriter(settings).write(spark, [row("e", 1)], Mark("stream", 1))
    writer.write(spark, [row("f", 2)], Mark("stream", 2))
    assert addresses(spark, settings) == ["a", "d", "e", "f"]


def test_small_files_become_one_from_time_to_time(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_writer, "COMPACT_EVERY", 3)
    writer = RegisterWriter(settings)
    files = []
    for batch in range(4):
        writer.write(spark, [row(str(batch), batch)], Mark("stream", batch))
        files.append(len(delta_io.read(spark, CLICK_OBJECTS, settings).inputFiles()))
    assert files == [1, 2, 1, 2]
    writer.write(spark, [row("3", 3)], Mark("stream", 3))
    assert addresses(spark, settings) == ["0", "1", "2", "3"]
