"""A night says which declared columns it can't compare, also where everything else agrees."""

from __future__ import annotations

from typing import Any

import pytest

from batch import reconcile
from lakehouse.settings import Settings
from lakehouse.source_rows import SourceTable, shape_of
from lakehouse.tables.captured import CapturedTable
from lakehouse.tables.columns import columns

TABLE = CapturedTable("ratios", columns("id bigint, ratio double, gone string"), keys=("id",))


@pytest.mark.parametrize("has_ratio", [True, False])
def test_a_declared_column_that_is_not_compared_is_logged_and_one_that_is_not_declared_is_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, has_ratio: bool
) -> None:
    monkeypatch.setattr(reconcile.delta_io, "read", lambda *_: None)
    monkeypatch.setattr(reconcile, "held", lambda *_: {})
    table = TABLE if has_ratio else CapturedTable("ratios", columns("id bigint"), keys=("id",))
    in_source = {"id": "int8", "ratio": "float8", "extra": "text"}
    source = SourceTable(table=table, shape=shape_of(table, in_source), buckets=256, held={}, seconds=0.0)
    spark: Any = None
    found = reconcile.compare(spark, settings, source)
    wanted = ["ratio (type double, float8 in the source)", "gone (not in the source)"] if has_ratio else []
    assert found.not_compared == wanted
    assert ("columns_not_compared" in caplog.messages) == has_ratio
