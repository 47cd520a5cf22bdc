"""Bad records, each wrong in exactly one way; the reasons are the words that the quarantine uses."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

INVENTORY_REASONS = (
    "null_value", "bad_framing", "unknown_schema_id", "undecodable_body", "missing_event_id", "missing_sku",
    "missing_warehouse_id", "unknown_movement", "event_time_out_of_range",
)  # fmt: skip
CLICK_REASONS = (
    "invalid_utf8", "malformed_json", "missing_event_id", "bad_timestamp", "unknown_event_type",
    "event_time_out_of_range",
)  # fmt: skip
CHANGE_REASONS = ("bad_framing", "unknown_schema_id", "undecodable_body", "missing_key")
UNKNOWN_SCHEMA_ID = 2_000_000_011
"""No registry counts this far."""
_TEN_YEARS = timedelta(days=3653)

Encode = Callable[[dict[str, Any]], bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record and what the account notes about it."""

    key: bytes | None
    value: bytes | None
    note: list[Any]


class FaultSchedule:
    """Says which faults come next, so that their share holds over any number of batches and no reason is left out."""

    def __init__(self, reasons: Sequence[str], share: float, start: int = 0, each_at_least_once: bool = False) -> None:
        self._reasons = reasons
        self._next = start
        self._debt = float(len(reasons)) if each_at_least_once else 0.0
        self._share = share

    def take(self, good: int) -> list[str]:
        """Reasons of the bad records that go with `good` good ones."""
        self._debt += good * self._share
        count = int(self._debt)
        self._debt -= count
        reasons = [self._reasons[(self._next + number) % len(self._reasons)] for number in range(count)]
        self._next += count
        return reasons


def new_event_id(rng: Random) -> str:
    """A seeded random UUID."""
    return str(UUID(int=rng.getrandbits(128), version=4))


def inventory_fault(rng: Random, reason: str, like: dict[str, Any], encode: Encode) -> Record:
    """A record on the stock topic that is bad for `reason` only; otherwise it repeats the level that `like` told."""
    event = like | {"event_id": new_event_id(rng), "quantity_delta": 0, "movement": "count"}
    changed: dict[str, dict[str, Any]] = {
        "missing_event_id": {"event_id": ""},
        "missing_sku": {"sku": ""},
        "missing_warehouse_id": {"warehouse_id": ""},
        "unknown_movement": {"movement": rng.choice(("shrinkage", "teleport", "SALE?"))},
        "event_time_out_of_range": {"occurred_at": like["occurred_at"] + _TEN_YEARS},
    }
    value = encode(event | changed.get(reason, {}))
    if reason not in changed:
        value = _framing_fault(rng, reason, value, json.dumps(event, default=str).encode())
    return Record(like["sku"].encode(), value, ["bad", reason])


def change_fault(rng: Random, reason: str, key: bytes, value: bytes) -> Record:
    """A record for a change topic, made of the key and value of a real change, that is bad for `reason` only."""
    if reason == "missing_key":
        return Record(None, value, ["bad", reason])
    return Record(key, _framing_fault(rng, reason, value, b'{"op":"u"}'), ["bad", reason])


def _framing_fault(rng: Random, reason: str, value: bytes, plain: bytes) -> Any:
    if reason == "null_value":
        return None
    if reason == "bad_framing":
        # Too short for a schema id, or written by someone who forgot the serializer.
        return rng.choice((value[: rng.randint(1, 4)], plain))
    if reason == "unknown_schema_id":
        return value[:1] + struct.pack(">I", UNKNOWN_SCHEMA_ID) + value[5:]
    if reason == "undecodable_body":
        # Cut inside the first fields: every field that follows is required, so no reader can fill them in.
        return value[: 5 + min(8, (len(value) - 5) // 2)]
    if reason == "trailing_bytes":
        return value + b"\x00"
    raise ValueError(reason)


def click_fault(rng: Random, reason: str, like: dict[str, Any]) -> bytes:
    """A line for a clickstream object, without its line end, that is bad for `reason` only."""
    event = like | {"event_id": new_event_id(rng), "page_url": "/account"}
    if reason == "missing_event_id":
        return _without(rng, event, "event_id")
    if reason == "bad_timestamp":
        event["timestamp"] = rng.choice(("just now", "2026-02-30T25:61:00.000Z", "23/11/2026 at nine"))
    elif reason == "unknown_event_type":
        event["event_type"] = rng.choice(("scroll_depth", "video_play", "hover"))
    elif reason == "event_time_out_of_range":
        event["timestamp"] = f"{int(event['timestamp'][:4]) + 10}-01-15{event['timestamp'][10:]}"
    elif reason == "malformed_json":
        return _malformed(rng, event)
    elif reason == "invalid_utf8":
        return click_line(event).replace(b"/account", b"/caf\xe9/\xff")
    return click_line(event)


def click_line(event: dict[str, Any]) -> bytes:
    """One JSON line without its line end."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def _without(rng: Random, event: dict[str, Any], name: str) -> bytes:
    """The field is absent, null or empty: three ways to miss it."""
    way = rng.randrange(3)
    if way == 0:
        return click_line({key: value for key, value in event.items() if key != name})
    return click_line(event | {name: None if way == 1 else ""})


def _malformed(rng: Random, event: dict[str, Any]) -> bytes:
    """Half a line, an array, or JSON that is no object."""
    whole = json.dumps(event, separators=(",", ":"))
    return rng.choice((whole[: len(whole) // 2], f"[{whole}]", '"page_view"')).encode()
