"""Each bad record is bad for the one reason that the account counts; judged here without any code of the shop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from infra.shop.catalogue import make_products
from infra.shop.clickstream import ObjectWriter, Visitors, session
from infra.shop.faults import (
    CHANGE_REASONS,
    CLICK_REASONS,
    INVENTORY_REASONS,
    FaultSchedule,
    change_fault,
    click_fault,
    inventory_fault,
)

MOVEMENTS = {"receipt", "sale", "return", "adjustment", "transfer", "count"}
EVENT_TYPES = {"page_view", "product_view", "add_to_cart", "checkout", "purchase"}
KNOWN_SCHEMA_ID = 1
Decode = Callable[[bytes], dict[str, Any]]
Encode = Callable[[dict[str, Any]], bytes]


def framing_reason(value: bytes | None, decode: Decode) -> str | None:
    if value is None:
        return "null_value"
    if len(value) < 5 or value[0] != 0:
        return "bad_framing"
    if int.from_bytes(value[1:5], "big") != KNOWN_SCHEMA_ID:
        return "unknown_schema_id"
    try:
        decode(value)
    except (EOFError, ValueError, IndexError, UnicodeDecodeError):
        return "undecodable_body"
    return None


def inventory_reasons(value: bytes | None, decode: Decode, now: datetime) -> list[str]:
    if reason := framing_reason(value, decode):
        return [reason]
    event = decode(value or b"")
    broken = {
        "missing_event_id": not event["event_id"].strip(),
        "missing_sku": not event["sku"].strip(),
        "missing_warehouse_id": not event["warehouse_id"].strip(),
        "unknown_movement": event["movement"] not in MOVEMENTS,
        "event_time_out_of_range": event["occurred_at"] > now + timedelta(days=1),
    }
    return [reason for reason, is_broken in broken.items() if is_broken]


def click_reasons(line: bytes, now: datetime) -> list[str]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return ["invalid_utf8"]
    try:
        event = json.loads(text)
    except ValueError:
        return ["malformed_json"]
    if not isinstance(event, dict):
        return ["malformed_json"]
    at = moment(event.get("timestamp"))
    broken = {
        "missing_event_id": not event.get("event_id"),
        "bad_timestamp": at is None,
        "unknown_event_type": event.get("event_type") not in EVENT_TYPES,
        "event_time_out_of_range": at is not None and at > now + timedelta(days=1),
    }
    return [reason for reason, is_broken in broken.items() if is_broken]


def moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


@pytest.fixture
def event(noon: datetime) -> dict[str, Any]:
    return {
        "event_id": "e1",
        "sku": "KIT-001",
        "warehouse_id": "WH-LEEDS",
        "movement": "sale",
        "quantity_delta": -1,
        "on_hand": 40,
        "sequence": 9,
        "occurred_at": noon,
    }


@pytest.mark.parametrize("reason", INVENTORY_REASONS)
def test_bad_stock_record_is_bad_for_its_reason_only(
    reason: str, event: dict[str, Any], encode: Encode, decode: Decode, noon: datetime
) -> None:
    for seed in range(50):
        record = inventory_fault(Random(seed), reason, event, encode)
        assert inventory_reasons(record.value, decode, noon) == [reason]
        assert record.note == ["bad", reason]
        assert record.key == b"KIT-001"


def test_good_stock_record_has_no_reason(event: dict[str, Any], encode: Encode, decode: Decode, noon: datetime) -> None:
    assert inventory_reasons(encode(event), decode, noon) == []


@pytest.mark.parametrize("reason", CHANGE_REASONS)
def test_bad_change_record_is_bad_for_its_reason_only(
    reason: str, event: dict[str, Any], encode: Encode, decode: Decode
) -> None:
    key, value = b"\x00\x00\x00\x00\x02\x0e", encode(event)
    for seed in range(50):
        record = change_fault(Random(seed), reason, key, value)
        if reason == "missing_key":
            assert (record.key, framing_reason(record.value, decode)) == (None, None)
        else:
            assert (record.key, framing_reason(record.value, decode)) == (key, reason)


@pytest.mark.parametrize("reason", CLICK_REASONS)
def test_bad_click_line_is_bad_for_its_reason_only(reason: str, noon: datetime) -> None:
    good = {
        "event_id": "c1",
        "user_id": None,
        "session_id": "s-1",
        "event_type": "page_view",
        "page_url": "/",
        "timestamp": "2026-11-23T11:00:00.000Z",
        "properties": {"search": "thé à la menthe"},
    }
    for seed in range(50):
        line = click_fault(Random(seed), reason, good)
        assert click_reasons(line, noon) == [reason]
        assert b"\n" not in line


def test_objects_hold_exactly_the_bad_lines_that_they_count(noon: datetime) -> None:
    rng = Random(1)
    writer = ObjectWriter(rng, "clicks/", FaultSchedule(CLICK_REASONS, 0.1, each_at_least_once=True))
    begin = noon - timedelta(hours=1)
    people = Visitors([1001], make_products(7, noon))
    events = [one for _ in range(60) for one in session(rng, people, begin, noon)]
    made = writer.write(events, noon)
    found = Counter(reason for line in made.body.splitlines() for reason in click_reasons(line, noon))
    assert found == made.bad
    assert set(made.bad) == set(CLICK_REASONS)


def test_schedule_keeps_the_share_over_many_small_batches() -> None:
    schedule = FaultSchedule(INVENTORY_REASONS, 0.02)
    reasons = [reason for _ in range(900) for reason in schedule.take(7)]
    assert len(reasons) == 126
    assert set(Counter(reasons).values()) == {14}


def test_first_batch_of_a_schedule_can_hold_every_reason() -> None:
    assert sorted(FaultSchedule(CLICK_REASONS, 0.02, each_at_least_once=True).take(1)) == sorted(CLICK_REASONS)


def test_time_of_a_fault_is_ten_years_ahead_also_on_a_leap_day(
    event: dict[str, Any], encode: Encode, decode: Decode
) -> None:
    event["occurred_at"] = datetime(2028, 2, 29, tzinfo=UTC)
    record = inventory_fault(Random(1), "event_time_out_of_range", event, encode)
    assert decode(record.value or b"")["occurred_at"].year == 2038
