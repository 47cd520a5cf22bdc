"""What people read: every kind of transition, names from outside, many at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from streaming.alert_messages import Alert, MalformedAlert, digest_of, message_of, read_alert

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
FIELDS = {
    "alert_id": "e1-opened",
    "episode_id": "e1",
    "kind": "opened",
    "sku": "SKU-1",
    "warehouse_id": "LDN",
    "on_hand": 4,
    "reorder_point": 20,
    "sequence": 17,
    "occurred_at": "2026-11-23T09:00:00.000Z",
    "detected_at": "2026-11-23T09:00:01Z",
}


def alert(**values: object) -> Alert:
    return read_alert(json.dumps(FIELDS | values).encode())


def test_a_message_names_product_place_level_and_delay() -> None:
    text = message_of(alert(product_name="Walnut desk"), AT + timedelta(seconds=2.5))["text"]
    assert "Stock is low" in text
    assert "Walnut desk (`SKU-1`) in `LDN`: 4 left, reorder point 20" in text
    assert "2.5 s after the stock movement" in text
    assert "repeat" not in text


@pytest.mark.parametrize(("kind", "words"), [("escalated", "Out of stock"), ("closed", "Stock has recovered")])
def test_each_transition_has_its_own_words(kind: str, words: str) -> None:
    assert words in message_of(alert(kind=kind), AT)["text"]


def test_a_possible_repeat_says_so() -> None:
    message = message_of(alert(), AT, possible_repeat=True)
    assert "Possible repeat" in message["text"]
    assert "Possible repeat" in json.dumps(message["blocks"])


def test_a_name_from_outside_cannot_mention_a_channel() -> None:
    message = message_of(alert(product_name="<!channel> & co"), AT)
    assert "<!channel>" not in json.dumps(message)
    assert "&lt;!channel&gt; &amp; co" in message["text"]


def test_a_clock_that_runs_behind_gives_no_negative_delay() -> None:
    assert alert().delay_seconds(AT - timedelta(seconds=3)) == 0.0


def test_a_digest_counts_the_kinds_and_keeps_the_order() -> None:
    alerts = [alert(alert_id=f"a{n}", sku=f"SKU-{n}", kind="opened" if n % 2 else "closed") for n in range(40)]
    message = digest_of(alerts, AT + timedelta(seconds=9))
    assert message["text"].startswith("*40 stock alerts at once*: 20 opened, 20 closed")
    positions = [message["text"].index(f"`SKU-{n}`") for n in range(40)]
    assert positions == sorted(positions)
    assert "At most 9.0 s" in message["text"]


def test_the_largest_digest_stays_within_the_limits_of_slack() -> None:
    long_name = {"product_name": "&" * 300, "sku": "S" * 60, "warehouse_id": "W" * 40}
    message = digest_of([alert(alert_id=str(n), **long_name) for n in range(500)], AT, possible_repeat=True)
    assert len(message["blocks"]) <= 50
    assert all(len(block["text"]["text"]) <= 3000 for block in message["blocks"] if block["type"] == "section")
    assert len(message["text"]) <= 40_000


def test_an_alert_survives_the_way_into_the_memory_and_back() -> None:
    assert read_alert(json.dumps(alert().as_json()).encode()) == alert()


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        json.dumps(FIELDS | {"kind": "lost"}).encode(),
        json.dumps(FIELDS | {"sku": ""}).encode(),
        json.dumps(FIELDS | {"on_hand": None}).encode(),
        json.dumps(FIELDS | {"occurred_at": 5}).encode(),
    ],
)
def test_a_record_that_is_no_alert_is_told_apart(value: bytes | None) -> None:
    with pytest.raises(MalformedAlert):
        read_alert(value)
