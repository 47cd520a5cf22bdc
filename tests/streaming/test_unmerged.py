"""Changes that no merge could place: discarded at the same desk as other rejected rows, and on the streams' page."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession
from table_rows import frame

from batch.replay import Replayed, replay
from lakehouse import delta_io, lease, metrics
from lakehouse.settings import Settings
from lakehouse.tables import CUSTOMERS, ORDERS, quarantine_of
from streaming import quarantine_desk, quarantine_standing, queries, unmerged
from streaming.quarantine_commands import quarantine
from streaming.quarantine_counter import RejectedByMerge
from streaming.quarantine_requests import Request, new_id
from streaming.quarantine_selection import Selection

pytestmark = pytest.mark.slow
SINCE = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)


@pytest.fixture
def rejects(spark: SparkSession, settings: Settings) -> str:
    """Three changes of orders that a merge rejected, for two reasons."""
    spec = quarantine_of(ORDERS.rejects)
    rows = [
        {"quarantine_id": name, "stage": "silver", "reasons": [reason], "_ingested_at": SINCE.replace(tzinfo=None)}
        for name, reason in (("a", "missing_key"), ("b", "below_purge_horizon"), ("c", "below_purge_horizon"))
    ]
    for one in (spec, ORDERS.changes, *ORDERS.merged):
        delta_io.ensure(spark, one, settings)
    delta_io.append(frame(spark, spec.schema, rows), spec, settings)
    return ORDERS.rejects


def discard(settings: Settings, *arguments: str) -> list[str]:
    ended = CliRunner().invoke(quarantine, ["discard", "--why", "sent twice", *arguments], obj=settings)
    assert ended.exit_code == 0, ended.output
    return ended.output.splitlines()


def open_rows(settings: Settings, name: str) -> dict[str, int]:
    return {reason: rows for reason, (rows, _) in quarantine_standing.backlog(settings, name).items()}


def test_an_operator_discards_one_row_or_all_of_a_reason_and_none_comes_back(
    spark: SparkSession, settings: Settings, rejects: str
) -> None:
    assert discard(settings, "b") == ["b  discarded sent twice", f"{rejects}: 1 discarded"]
    assert open_rows(settings, rejects) == {"missing_key": 1, "below_purge_horizon": 1}
    assert discard(settings, "--reason", "below_purge_horizon")[-1] == f"{rejects}: 1 already discarded, 1 discarded"
    assert open_rows(settings, rejects) == {"missing_key": 1}
    assert discard(settings, "--stream", rejects)[-1] == f"{rejects}: 2 already discarded, 1 discarded"
    assert replay(spark, settings, ORDERS, "ann") == Replayed(0, {})
    shown = CliRunner().invoke(quarantine, ["show", "b"], obj=settings).output
    assert "discarded: sent twice" in shown


def test_a_replay_of_them_names_the_command_that_does_it(settings: Settings, rejects: str) -> None:
    for arguments in (["b"], ["--stream", rejects]):
        ended = CliRunner().invoke(quarantine, ["replay", *arguments], obj=settings)
        assert isinstance(ended.exception, RejectedByMerge)
        assert "`lakehouse batch replay orders`" in str(ended.exception)


def test_a_merge_that_runs_is_waited_for(
    spark: SparkSession, settings: Settings, rejects: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unmerged, "WAIT_SECONDS", 0)
    request = Request(new_id(), rejects, "discard", Selection(("b",)), "ann", "sent twice")
    with lease.hold(lease.of_silver("orders"), settings), pytest.raises(lease.LeaseHeld):
        unmerged.discard(spark, settings, request)
    assert open_rows(settings, rejects) == {"missing_key": 1, "below_purge_horizon": 2}


def test_the_page_of_the_streams_shows_their_number_and_age(settings: Settings, rejects: str) -> None:
    quarantine_desk.measure(settings, quarantine_desk.measured(queries.streams("changes", settings)))
    labels = {"stream": rejects, "reason": "below_purge_horizon"}
    assert metrics.STREAMS.get_sample_value("quarantine_open_rows", labels) == 2
    assert metrics.STREAMS.get_sample_value("quarantine_oldest_open_timestamp_seconds", labels) == SINCE.timestamp()


def test_each_merge_is_measured_by_the_driver_of_its_changes(settings: Settings) -> None:
    assert {ORDERS.rejects, CUSTOMERS.rejects} <= set(quarantine_desk.measured(queries.streams("all", settings)))
    assert quarantine_desk.measured(queries.streams("inventory", settings)) == ["inventory_events"]
