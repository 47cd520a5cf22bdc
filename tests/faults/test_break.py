"""`lakehouse break` hits nothing but the embedded stack of its own home, and tells whether the promise held."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from infra.breakage import kill, poison, promise, streams, trim
from infra.breakage.ground import (
    Ground,
    NothingTraded,
    NotTheEmbeddedStack,
    StackIsDown,
    StreamsRun,
    movements,
    send,
    stand_on,
)
from infra.breakage.streams import told
from infra.demo.alerts import missing_alerts
from infra.demo.checks import Check
from infra.local import registry, stack
from infra.local.plan import make_plan
from infra.local.ports import free_ports
from infra.shop.account import Account, ExpectedAlert, Level, read_account
from infra.shop.opening import Sizes
from infra.shop.run import run_shop
from infra.shop.stock import WAREHOUSES
from lakehouse import direct_read, lease
from lakehouse.kafka_offsets import TopicLogs
from lakehouse.ledger_entry import Entry, OffsetRange
from lakehouse.settings import Settings, load_settings


def silent(_: str) -> None:
    """Nobody listens."""


def own_variables() -> list[str]:
    return [name for name in os.environ if name.startswith("LAKEHOUSE_") and name != "LAKEHOUSE_CACHE"]


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose stack was started once and is down now."""
    for name in own_variables():
        monkeypatch.delenv(name)
    make_plan(tmp_path, free_ports()).write()
    return tmp_path


def test_a_home_without_a_stack_is_refused(settings: Settings) -> None:
    with pytest.raises(StackIsDown, match=r"is not up \(it was never started\).* `make demo`"):
        stand_on(settings, silent)
    assert list(settings.home.iterdir()) == []


def test_a_stack_that_is_down_is_refused_and_named(planned: Path) -> None:
    with pytest.raises(StackIsDown, match="kafka, registry, postgres, s3, slack, connect does not answer"):
        stand_on(load_settings(home=planned), silent)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("kafka_bootstrap_servers", "broker-1.shop.example:9093"),
        ("schema_registry_url", "https://schemas.shop.example"),
        ("s3_endpoint", ""),
        ("postgres_port", 5432),
        ("warehouse_uri", "s3a://lake/warehouse"),
        ("checkpoint_uri", "s3a://lake/checkpoints"),
    ],
)
def test_settings_that_point_elsewhere_are_refused_before_anything_is_asked(
    planned: Path, setting: str, value: Any
) -> None:
    with pytest.raises(NotTheEmbeddedStack, match=f"LAKEHOUSE_{setting.upper()}. Nothing was touched"):
        stand_on(load_settings(home=planned, **{setting: value}), silent)


def test_what_it_sends_goes_on_from_the_present_levels_and_alarms_nobody() -> None:
    levels = {(f"P{number}", name): Level(sequence=7, on_hand=5_000) for number in range(3) for name in WAREHOUSES}
    account = Account(levels=levels)
    shop: Any = SimpleNamespace(account=account, clock=lambda: datetime(2026, 11, 23, tzinfo=UTC))
    events = movements(shop, Random(7), 200)
    noted = ("event_id", "sku", "warehouse_id", "sequence", "on_hand")
    account._count_records("inventory", [["good", *(event[name] for name in noted)] for event in events])
    assert len(events) == len({event["event_id"] for event in events}) == 200
    assert account.expected_alerts == []
    assert min(event["sequence"] for event in events) == 8


def test_records_that_the_low_stock_query_still_needs_are_not_deleted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [ExpectedAlert("P1", "WH-LEEDS", "opened")]
    monkeypatch.setattr(trim, "read_account", lambda _: Account(expected_alerts=waiting))
    ground: Any = SimpleNamespace(settings=settings, say=silent)
    with pytest.raises(trim.LowStockIsBehind, match="1 low-stock alerts"):
        trim.run(ground)


def test_a_comparison_that_does_not_hold_fails_the_command(settings: Settings) -> None:
    lines: list[str] = []
    ground: Any = SimpleNamespace(say=lines.append)
    with pytest.raises(promise.PromiseBroken, match="1 of the comparisons"):
        promise.require(ground, [Check("one", 1, 1), Check("ids", Counter("ab"), Counter("a"))])
    assert "NOT EQUAL" in lines[-1]


def test_a_ledger_entry_is_one_line() -> None:
    places = (OffsetRange("t", 0, 10, 15),)
    batch = Entry("inventory_events", "q", 3, places, 5, 5, 3, {"bad_framing": 2})
    assert told(batch) == "inventory_events, batch 3: read 5 = 3 written + 2 rejected, balances (2 bad_framing)"
    gap = Entry("inventory_events", "", -1, places, 0, 0, 0, kind="gap", reason="why")
    assert told(gap) == "inventory_events, gap: t/0 10-15 (why)"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A stack of its own (other tests write to the shared one what no account knows), with a small past."""
    with pytest.MonkeyPatch.context() as patch:
        for name in own_variables():
            patch.delenv(name)
        with stack.running(tmp_path_factory.mktemp("break")) as settings:
            with pytest.raises(NothingTraded):
                stand_on(settings, silent)
            run_shop(settings, sizes=Sizes(orders=100, scale=0.2), phases=("history",))
            yield stand_on(settings, silent)


def rejected(ground: Ground) -> Counter[str]:
    """Rejected stock events by reason, as the ledger has them."""
    found: Counter[str] = Counter()
    for entry in direct_read.ledger_entries(ground.settings, "inventory_events"):
        found.update(entry.quarantined)
    return found


def raise_alerts(ground: Ground) -> None:
    """Let the low-stock query catch up with what the shop's history expects: `trim` waits for that."""
    settings = ground.settings
    child = streams.start(ground, "inventory")
    try:
        child.wait_for(lambda: not missing_alerts(settings, read_account(settings)), streams.SECONDS)
    finally:
        child.stop()


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestOnTheStack:
    """In this order: the first three leave the home as the shop's account says, the others do not."""

    def test_a_killed_stream_loses_nothing_and_repeats_nothing(self, ground: Ground) -> None:
        lines: list[str] = []
        kill.run(Ground(ground.settings, ground.plan, lines.append))
        assert any(line.startswith("Killed: ") for line in lines)
        assert "acknowledged event ids = ids in Bronze" in "\n".join(lines)

    def test_poison_is_in_the_quarantine_by_name_and_stops_nothing(self, ground: Ground) -> None:
        before = rejected(ground)
        lines: list[str] = []
        poison.run(Ground(ground.settings, ground.plan, lines.append))
        assert rejected(ground) - before == dict.fromkeys(poison.REASONS, poison.BAD_OF_EACH)
        assert "acknowledged event ids = ids in Bronze" in "\n".join(lines)

    def test_a_trimmed_topic_stops_the_stream_until_the_gap_is_accepted(self, ground: Ground) -> None:
        raise_alerts(ground)
        lines: list[str] = []
        trim.run(Ground(ground.settings, ground.plan, lines.append))
        printed = "\n".join(lines)
        assert "exit code 1: lakehouse: " in printed
        assert f"({trim.REASON})" in printed
        gaps = [one for one in direct_read.ledger_entries(ground.settings, "inventory_events") if one.kind == "gap"]
        assert [sum(one.size for one in gap.ranges) for gap in gaps] == [trim.LOST]

    def test_a_loss_that_nobody_accepted_is_seen(self, ground: Ground) -> None:
        """The comparison has teeth: an acknowledged event that Bronze lacks."""
        with ground.shop() as shop:
            send(shop, 5)
        failed = [check.name for check in promise.inventory(ground.settings) if not check.holds]
        assert failed == ["acknowledged event ids = ids in Bronze, one by one"]

    def test_trimmed_records_are_gone_from_the_broker(self, ground: Ground) -> None:
        lost = trim.lose_records(ground.settings)
        log = TopicLogs(ground.settings).describe([lost.topic])[lost.topic]
        assert lost.size == trim.LOST
        assert (log.begins[lost.partition], log.ends[lost.partition]) == (lost.to_offset, lost.to_offset)

    def test_one_service_is_stopped_and_the_others_stay(self, ground: Ground) -> None:
        stack.stop_service(ground.settings.home, registry.NAME, silent)
        assert [one.name for one in stack.status(ground.settings.home) if not one.pid] == [registry.NAME]
        with pytest.raises(StackIsDown, match=r"\(registry does not answer\)"):
            stand_on(ground.settings, silent)
        stack.up(ground.settings.home, None, silent)
        stand_on(ground.settings, silent)

    def test_streams_that_run_are_left_alone(self, ground: Ground) -> None:
        with lease.hold("stream-inventory_events", ground.settings), pytest.raises(StreamsRun, match="stop it first"):
            stand_on(ground.settings, silent)
