"""Notifications in both forms name their objects; what can't be understood is named as such and never passed over."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from streaming.expansion import Taken, TakenObject
from streaming.object_notifications import BAD, Notification, NotifiedObject, key_date, read

PUT = {"bucket": "landing", "key": "clicks/date=2026-11-23/hour=09/a.jsonl", "size": 5, "etag": "e1"}


def said_by(message: Any) -> Notification:
    value = message if isinstance(message, bytes) else json.dumps(message).encode()
    return read(value, "landing", "clicks/")


def s3_event(event: str = "ObjectCreated:Put", **values: Any) -> dict[str, Any]:
    put = {"key": "clicks/date%3D2026-11-23/caf%C3%A9+1.jsonl", "size": 5, "eTag": "e1"} | values
    return {"eventName": event, "s3": {"bucket": {"name": "landing"}, "object": put}}


def test_our_own_form_names_one_object() -> None:
    assert said_by(PUT) == Notification((NotifiedObject(**PUT),))


@pytest.mark.parametrize("event", ["ObjectCreated:Put", "s3:ObjectCreated:CompleteMultipartUpload"])
def test_the_key_of_an_s3_event_is_decoded(event: str) -> None:
    (found,) = said_by({"Records": [s3_event(event)]}).objects
    assert found.address == "s3://landing/clicks/date=2026-11-23/café 1.jsonl"


def test_one_record_may_name_several_objects_and_other_events_are_passed_over_by_name() -> None:
    events = [s3_event(), s3_event(key="clicks/b"), s3_event("ObjectRemoved:Delete"), s3_event("ObjectRestore:Post")]
    found = said_by({"Records": events})
    assert (len(found.objects), found.ignored) == (2, ("object_removed", "other_event"))


def test_an_s3_event_in_the_envelope_of_sns_is_read() -> None:
    assert len(said_by({"Type": "Notification", "Message": json.dumps({"Records": [s3_event()]})}).objects) == 1


def test_the_test_event_of_s3_is_passed_over_by_name() -> None:
    assert said_by({"Service": "Amazon S3", "Event": "s3:TestEvent"}) == Notification(ignored=("test_event",))


@pytest.mark.parametrize("stranger", [PUT | {"bucket": "other"}, PUT | {"key": "invoices/a.jsonl"}])
def test_objects_of_other_prefixes_and_buckets_are_never_read(stranger: dict[str, Any]) -> None:
    assert said_by(stranger) == Notification(ignored=("outside_landing_prefix",))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"[]",
        b"7",
        b"[" * 100_000,
        {},
        PUT | {"size": "5"},
        PUT | {"size": -1},
        PUT | {"size": 2**63},
        PUT | {"etag": None},
        PUT | {"etag": "e\r\nx: y"},
        PUT | {"key": "clicks/\ud800"},
        PUT | {"key": "clicks/" + "\u00e9" * 509},
        {"Records": None},
        {"Records": [{"eventName": "ObjectCreated:Put"}]},
        {"Records": [s3_event(), {}]},
    ],
)
def test_what_names_no_object_is_bad(message: Any) -> None:
    assert said_by(message) == BAD


def test_the_day_of_a_key_is_read_from_the_declared_layout() -> None:
    keys = ["clicks/date=2026-11-23/hour=09/a", "clicks/a", "clicks/date=2026-13-45/a"]
    assert [key_date(key) for key in keys] == [date(2026, 11, 23), None, None]


def test_the_ledger_entry_of_two_thousand_objects_stays_small() -> None:
    objects = tuple(
        TakenObject(f"s3://landing/clicks/date=2026-11-23/hour=09/{number:08d}.jsonl", "e" * 32, 5, 1, "read")
        for number in range(2000)
    )
    told = Taken(objects).to_ledger()
    assert (told["count"], told["bytes"], told["listed"]) == (2000, 10_000, [])
    assert len(json.dumps(told)) < 1000
    assert len(json.dumps(Taken(objects[:50]).to_ledger())) < 10_000
    assert Taken(objects[1:]).to_ledger()["digest"] != told["digest"] == Taken(objects[::-1]).to_ledger()["digest"]
