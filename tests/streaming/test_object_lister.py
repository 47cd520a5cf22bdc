"""The lister announces each object once and in order, and nothing behind one that is still being written."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from lakehouse.settings import Settings
from streaming.object_lister import ObjectLister


class Bucket:
    """Objects by key; one without an etag is still being written."""

    def __init__(self) -> None:
        self.etags: dict[str, str | None] = {}

    def get_paginator(self, _: str) -> Bucket:
        return self

    def paginate(self, StartAfter: str, **_: Any) -> list[dict[str, Any]]:  # noqa: N803 - S3's own name
        if "" in self.etags:
            raise RuntimeError("an answer that nobody expects")
        newer = sorted(key for key in self.etags if key > StartAfter)
        return [
            {"Contents": [{"Key": k, "Size": 1} | ({"ETag": self.etags[k]} if self.etags[k] else {}) for k in newer]}
        ]


class Topic:
    """Takes what is announced."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def produce(self, _: str, value: bytes, on_delivery: Any) -> None:
        self.keys.append(json.loads(value)["key"])
        on_delivery(None, None)

    def flush(self, _: float) -> int:
        return 0


@pytest.fixture
def lister(settings: Settings) -> ObjectLister:
    one = ObjectLister.__new__(ObjectLister)
    one._settings, one._s3, one._producer, one._newest, one.trouble = settings, Bucket(), Topic(), "", None
    return one


def test_each_object_is_announced_once_in_the_order_of_keys(lister: Any) -> None:
    lister._s3.etags = {"b": "2", "a": "1"}
    lister.announce_new()
    lister._s3.etags["c"] = "3"
    lister.announce_new()
    assert lister._producer.keys == ["a", "b", "c"]


def test_nothing_behind_an_object_that_is_still_being_written_is_announced(lister: Any) -> None:
    lister._s3.etags = {"a": "1", "b": None, "c": "3"}
    assert lister.announce_new() == 1
    assert lister.has_new()
    lister._s3.etags["b"] = "2"
    assert lister.announce_new() == 2
    assert lister._producer.keys == ["a", "b", "c"]


def test_trouble_that_nobody_expects_is_kept_for_the_driver(lister: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.object_lister.POLL_SECONDS", 0.0)
    lister._s3.etags = {"": "x"}
    lister.run(threading.Event())
    assert isinstance(lister.trouble, RuntimeError)
