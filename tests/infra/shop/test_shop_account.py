"""The account is exact whatever dies: every point of an interruption is tried against receivers that remember."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.shop.account import Account, ExpectedAlert, read_account
from infra.shop.bookkeeping import AccountBook, Identity
from infra.shop.errors import AccountBelongsElsewhere, AccountDamaged
from lakehouse.settings import Settings

HERE = Identity(postgres="pg-1", kafka="k-1")


@dataclass
class Remembered:
    """Receivers of a test: what arrived is what was put here."""

    transactions: set[str] = field(default_factory=set)
    objects: set[str] = field(default_factory=set)
    headers: list[str] = field(default_factory=list)

    def transaction_committed(self, entry: int, transaction_id: str) -> bool:
        return transaction_id in self.transactions

    def object_exists(self, key: str) -> bool:
        return key in self.objects

    def arrived_records(self, topic: str, start: dict[int, int], prefix: str) -> list[int]:
        return sorted(int(one.removeprefix(prefix)) for one in self.headers if one.startswith(prefix))


@pytest.fixture(autouse=True)
def nothing_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.shop.bookkeeping.SETTLING_SECONDS", 0.0)


def opened(settings: Settings) -> AccountBook:
    book = AccountBook(settings)
    book.open(HERE, seed=7, business_date="2026-11-23")
    return book


def intend_orders(book: AccountBook, transaction_id: str = "5") -> int:
    rows = {"orders": {"insert": 3, "delete": 1}, "customers": {"key_change": 1}}
    return book.intend(
        "postgres", transaction_id=transaction_id, rows=rows, next_ids={"orders": 104}, tag="day:2026-11-23"
    )


def intend_object(book: AccountBook) -> int:
    facts = {"lines": 10, "good": 9, "repeats": 2, "with_unknown_fields": 0, "bad": {"malformed_json": 1}}
    return book.intend("s3", key="clicks/a.jsonl", **facts)


def intend_events(book: AccountBook) -> int:
    records: list[list[Any]] = [
        ["good", "e1", "A", "W", 1, 500],
        ["bad", "missing_sku"],
        ["good", "e2", "A", "W", 2, 12],
        ["good", "e3", "A", "W", 3, 0],
    ]
    return book.intend("kafka", source="inventory", topic="inventory.events", start={0: 0}, records=records)


def test_intent_alone_counts_nothing(settings: Settings) -> None:
    book = opened(settings)
    intend_orders(book), intend_object(book), intend_events(book)
    account = read_account(settings)
    assert len(account.unsettled) == 3
    assert (account.inventory.records, account.clicks.lines, account.changes.tables["orders"].total()) == (0, 0, 0)


def test_what_arrived_before_the_shop_died_is_counted_when_it_comes_back(settings: Settings) -> None:
    book = opened(settings)
    intend_orders(book), intend_object(book)
    entry = intend_events(book)
    arrived = Remembered({"5"}, {"clicks/a.jsonl"}, [f"{book.header(entry)}{index}" for index in range(4)])
    again = AccountBook(settings)
    assert again.settle(arrived) == 3
    account = read_account(settings)
    assert not account.unsettled
    assert (account.inventory.good, dict(account.inventory.bad)) == (3, {"missing_sku": 1})
    assert (account.clicks.lines, account.clicks.events, dict(account.clicks.bad)) == (10, 7, {"malformed_json": 1})
    assert account.changes.events("orders") == {"c": 3, "u": 0, "d": 1, "tombstone": 1}
    assert account.changes.events("customers") == {"c": 1, "u": 0, "d": 1, "tombstone": 1}
    assert account.tags == {"day:2026-11-23"}


def test_what_did_not_arrive_is_not_counted_and_its_keys_are_not_given_out_again(settings: Settings) -> None:
    book = opened(settings)
    intend_orders(book), intend_object(book), intend_events(book)
    AccountBook(settings).settle(Remembered())
    account = read_account(settings)
    assert not account.unsettled
    assert (account.inventory.records, account.clicks.objects, account.tags) == (0, 0, set())
    assert account.next_ids == {"orders": 104}


def test_of_a_batch_that_arrived_in_part_exactly_that_part_is_counted(settings: Settings) -> None:
    book = opened(settings)
    entry = intend_events(book)
    AccountBook(settings).settle(Remembered(headers=[f"{book.header(entry)}0", f"{book.header(entry)}2"]))
    account = read_account(settings)
    assert account.inventory.event_ids == ["e1", "e2"]
    assert account.inventory.bad.total() == 0
    assert account.expected_alerts == [ExpectedAlert("A", "W", "opened")]
    assert account.levels["A", "W"].sequence == 2


def test_records_of_another_entry_are_not_taken_for_this_one(settings: Settings) -> None:
    book = opened(settings)
    entry = intend_events(book)
    AccountBook(settings).settle(Remembered(headers=[f"{book.header(entry)[:-1]}1:0", "other:1:0"]))
    assert read_account(settings).inventory.records == 0


def test_half_a_last_line_is_left_out_and_the_next_run_goes_on(settings: Settings) -> None:
    book = opened(settings)
    book.confirm(intend_object(book))
    intend_events(book)
    path = book.folder / "account.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert read_account(settings).unsettled == {}
    again = AccountBook(settings)
    again.open(HERE, seed=7, business_date="2026-11-24")
    account = read_account(settings)
    assert (account.run, account.clicks.objects, account.entries) == (2, 1, 1)


def test_every_cut_of_the_journal_gives_the_same_counts_once_settled(settings: Settings) -> None:
    """However much of the journal a crash left, the receivers know the rest: all that was intended in it is counted."""
    book = opened(settings)
    entries = [intend_orders(book), intend_object(book), intend_events(book)]
    for entry in entries:
        book.confirm(entry)
    arrived = Remembered({"5"}, {"clicks/a.jsonl"}, [f"{book.header(entries[2])}{index}" for index in range(4)])
    path = book.folder / "account.jsonl"
    whole = path.read_bytes()
    intended = whole.index(b'{"kind":"done"')
    expected = read_account(settings).summary()
    for cut in range(intended, len(whole)):
        path.write_bytes(whole[:cut])
        AccountBook(settings).settle(arrived)
        assert read_account(settings).summary() == expected


def test_line_that_the_shop_did_not_write_is_refused_with_its_number(settings: Settings) -> None:
    book = opened(settings)
    path = book.folder / "account.jsonl"
    path.write_bytes(path.read_bytes() + b"oops\n")
    with pytest.raises(AccountDamaged, match=r"Line 2 of .*account\.jsonl"):
        read_account(settings)


def test_account_of_another_postgres_or_kafka_is_refused(settings: Settings) -> None:
    opened(settings)
    with pytest.raises(AccountBelongsElsewhere, match="Postgres pg-1, but pg-2 answers"):
        AccountBook(settings).check(Identity("pg-2", "k-1"))
    with pytest.raises(AccountBelongsElsewhere, match="Kafka k-1, but k-2 answers"):
        AccountBook(settings).check(Identity("pg-1", "k-2"))


def test_summary_is_whole_and_says_what_the_account_says(settings: Settings) -> None:
    with opened(settings) as book:
        book.confirm(intend_events(book))
    written = json.loads((book.folder / "account.json").read_text())
    assert written == read_account(settings).summary()
    assert written["inventory"] == {"records": 4, "good": 3, "bad": {"missing_sku": 1}}
    assert [one["kind"] for one in written["expected_alerts"]] == ["opened", "escalated"]
    assert not list(book.folder.glob("*.part"))


def test_second_run_keeps_the_account_id_so_that_headers_stay_unique(settings: Settings) -> None:
    first = opened(settings)
    entry = intend_object(first)
    first.void(entry)
    second = opened(settings)
    assert second.header(intend_object(second)) == f"{first.account.account_id}:2:"


def test_home_without_a_shop_has_an_empty_account(settings: Settings) -> None:
    assert read_account(settings) == Account()
