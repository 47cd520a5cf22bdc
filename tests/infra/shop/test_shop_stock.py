from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from infra.shop.account import Account, Level
from infra.shop.faults import INVENTORY_REASONS, FaultSchedule, Record
from infra.shop.history import stock_records
from infra.shop.stock import FLOOR, WAREHOUSES, StockBook, live_stock, low_stock_plan

Encode = Callable[[dict[str, Any]], bytes]
SKUS = [f"SKU-{number:02d}" for number in range(40)]


def counted_book(noon: datetime, rng: Random) -> tuple[StockBook, list[dict[str, Any]]]:
    book = StockBook(SKUS, {}, reorder_point=20)
    return book, list(book.count_new(rng, noon - timedelta(days=14)))


def a_past(noon: datetime, seed: int, count: int = 3_000) -> list[dict[str, Any]]:
    rng = Random(seed)
    book, events = counted_book(noon, rng)
    for number in range(count):
        events += book.trade(rng, noon - timedelta(seconds=count - number))
    return events


def fold(account: Account, events: list[dict[str, Any]]) -> None:
    records = [["good", e["event_id"], e["sku"], e["warehouse_id"], e["sequence"], e["on_hand"]] for e in events]
    account.apply(
        {"kind": "intent", "id": account.entries + 1, "channel": "kafka", "source": "inventory", "records": records}
    )
    account.apply({"kind": "done", "id": account.entries})


def records(noon: datetime, encode: Encode, seed: int) -> list[Record]:
    return stock_records(Random(seed), a_past(noon, seed), FaultSchedule(INVENTORY_REASONS, 0.02), encode)


def test_same_seed_gives_the_same_bytes(noon: datetime, encode: Encode) -> None:
    assert records(noon, encode, 7) == records(noon, encode, 7)


def test_another_seed_gives_other_bytes(noon: datetime, encode: Encode) -> None:
    assert records(noon, encode, 7) != records(noon, encode, 8)


def test_two_percent_of_the_records_are_bad(noon: datetime, encode: Encode) -> None:
    made = records(noon, encode, 7)
    bad = [record for record in made if record.note[0] == "bad"]
    assert len(bad) == int((len(made) - len(bad)) * 0.02)


def test_sequence_counts_up_by_one_and_level_follows_the_movements(noon: datetime) -> None:
    levels: dict[tuple[str, str], tuple[int, int]] = {}
    for event in a_past(noon, 7):
        pair = (event["sku"], event["warehouse_id"])
        sequence, on_hand = levels.get(pair, (0, 0))
        assert event["sequence"] == sequence + 1
        assert event["on_hand"] == on_hand + event["quantity_delta"]
        levels[pair] = (event["sequence"], event["on_hand"])
    assert len(levels) == len(SKUS) * len(WAREHOUSES)


def test_everyday_business_stays_far_above_every_reorder_point(noon: datetime) -> None:
    assert min(event["on_hand"] for event in a_past(noon, 7)) > FLOOR


def test_event_ids_differ(noon: datetime) -> None:
    ids = [event["event_id"] for event in a_past(noon, 7)]
    assert len(set(ids)) == len(ids)


def live(noon: datetime, account: Account, seed: int, ticks: int = 20) -> list[dict[str, Any]]:
    rng = Random(seed)
    book = StockBook(SKUS, account.levels, reorder_point=20)
    plan = low_stock_plan(rng, book, ticks)
    return [event for tick in range(ticks) for event in live_stock(rng, book, plan.get(tick, ()), 70, noon)]


def kinds(account: Account) -> list[str]:
    return [alert.kind for alert in account.expected_alerts]


def test_live_trade_opens_six_escalates_one_and_closes_one(noon: datetime) -> None:
    account = Account()
    fold(account, a_past(noon, 7))
    assert kinds(account) == []
    fold(account, live(noon, account, 7))
    assert sorted(kinds(account)) == ["closed", "escalated", *["opened"] * 6]
    assert len(set(account.expected_alerts)) == 8


def test_one_tick_is_enough_for_every_kind_of_alert(noon: datetime) -> None:
    account = Account()
    fold(account, a_past(noon, 7))
    fold(account, live(noon, account, 7, ticks=1))
    assert sorted(kinds(account)) == ["closed", "escalated", *["opened"] * 6]


def test_a_crossing_is_one_for_every_reorder_point_between_20_and_1300(noon: datetime) -> None:
    for reorder_point in (20, 150, 1_300):
        account = Account(reorder_point=reorder_point)
        fold(account, a_past(noon, 7))
        fold(account, live(noon, account, 7))
        assert sorted(kinds(account)) == ["closed", "escalated", *["opened"] * 6]


def test_next_run_restocks_what_the_last_one_left_low(noon: datetime) -> None:
    account = Account()
    fold(account, a_past(noon, 7))
    fold(account, live(noon, account, 7))
    low = {pair for pair, level in account.levels.items() if level.is_low}
    assert len(low) == 5
    before = len(account.expected_alerts)
    fold(account, live(noon, account, 8))
    later = account.expected_alerts[before:]
    assert low <= {(alert.sku, alert.warehouse_id) for alert in later if alert.kind == "closed"}
    assert sorted(alert.kind for alert in later) == [*["closed"] * 6, "escalated", *["opened"] * 6]


def test_low_stock_does_not_recover_by_itself(noon: datetime) -> None:
    pair = (SKUS[0], WAREHOUSES[0])
    book = StockBook(SKUS[:1], {pair: Level(5, 9, is_low=True)}, reorder_point=20)
    rng = Random(3)
    for _ in range(500):
        list(book.trade(rng, noon)) if book.on_hand.keys() >= set(book.pairs) else list(book.count_new(rng, noon))
    assert 0 < book.on_hand[pair] <= 9
