"""`lakehouse sql` answers from the tables as they are, and says what is wrong with a query in one sentence."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import write_deltalake

from lakehouse.settings import Settings
from lakehouse.sql_command import QueryRefused, sql


@pytest.fixture
def lake(settings: Settings) -> Settings:
    for name in ("ops/runs", "ops/quarantine/orders_changes"):
        folder = Path(settings.warehouse) / name
        folder.mkdir(parents=True)
        write_deltalake(str(folder), pa.table({"step": ["bronze", "silver"], "rows": [41, 42]}))
    return settings


@pytest.mark.parametrize("name", ["ops.runs", 'ops."quarantine/orders_changes"'])
def test_a_query_is_answered(lake: Settings, name: str) -> None:
    answer = CliRunner().invoke(sql, [f"select rows + 1 as more from {name} where step = 'silver'"], obj=lake)
    assert answer.exit_code == 0, answer.output
    assert "more" in answer.output
    assert "43" in answer.output
    assert "42" not in answer.output


@pytest.mark.parametrize("query", ["select * from gold.never_built", "selekt 1"])
def test_what_can_not_be_answered_is_said(lake: Settings, query: str) -> None:
    answer = CliRunner().invoke(sql, [query], obj=lake)
    assert isinstance(answer.exception, QueryRefused)
