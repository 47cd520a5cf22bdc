"""The lister announces each object once and in order, nothing behind one that is still being written, and asks the
store as often for the newest object of twenty thousand as of one thousand.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from lakehouse.kafka_config import client_config
from lakehouse.object_store import s3_client
from lakehouse.settings import Settings
from streaming import object_lister
from streaming.object_lister import Bookmark, ObjectLister


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
    """Takes what is announced, and remembers the newest key."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.newest = ""

    def send(self, values: Iterator[bytes]) -> int:
        before = len(self.keys)
        self.keys += [value.decode().split('"key":"')[1].split('"')[0] for value in values]
        return len(self.keys) - before

    def write(self, key: str) -> None:
        self.newest = key


@pytest.fixture
def lister(settings: Settings) -> Any:
    one: Any = ObjectLister.__new__(ObjectLister)
    one._settings, one._s3, one._announcer, one._newest, one.trouble = settings, Bucket(), Topic(), "", None
    one._bookmark = one._announcer
    return one


def test_each_object_is_announced_once_in_the_order_of_keys(lister: Any) -> None:
    lister._s3.etags = {"b": "2", "a": "1"}
    lister.announce_new()
    lister._s3.etags["c"] = "3"
    lister.announce_new()
    assert lister._announcer.keys == ["a", "b", "c"]
    assert lister._bookmark.newest == "c"


def test_nothing_behind_an_object_that_is_still_being_written_is_announced(lister: Any) -> None:
    lister._s3.etags = {"a": "1", "b": None, "c": "3"}
    assert lister.announce_new() == 1
    assert lister.has_new()
    lister._s3.etags["b"] = "2"
    assert lister.announce_new() == 2
    assert lister._announcer.keys == ["a", "b", "c"]


def test_trouble_that_nobody_expects_is_kept_for_the_driver(lister: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.object_lister.POLL_SECONDS", 0.0)
    lister._s3.etags = {"": "x"}
    lister.run(threading.Event())
    assert isinstance(lister.trouble, RuntimeError)


TOPIC = "listed.click.objects"


@pytest.fixture(scope="module")
def landing(stack: Settings) -> Settings:
    """A prefix and a topic of this test alone."""
    admin = AdminClient(client_config(stack))
    admin.create_topics([NewTopic(TOPIC, num_partitions=1)])[TOPIC].result(timeout=30)
    return stack.model_copy(update={"click_objects_topic": TOPIC, "landing_prefix": "listed/"})


def hold_seen_objects(settings: Settings, count: int) -> str:
    """Put objects into the store's own folder, as fast as files; returns the newest key."""
    folder: Path = settings.home / "stack" / "s3" / "buckets" / settings.landing_bucket / settings.landing_prefix
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:08d}.jsonl").touch()
    return f"{settings.landing_prefix}{count - 1:08d}.jsonl"


@pytest.mark.integration
def test_a_look_costs_one_list_request_whatever_was_seen(landing: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    s3, requests, found = s3_client(landing), [], {}
    s3.meta.events.register("before-send.s3.ListObjectsV2", lambda **_: requests.append(1))
    for seen in (1_000, 20_000):
        newest = hold_seen_objects(landing, seen)
        Bookmark(landing).write(newest)
        s3.put_object(Bucket=landing.landing_bucket, Key=f"{newest}.new", Body=b"{}\n")
        requests.clear()
        # A new lister, as after a restart: it asks Kafka for its place, and the store once.
        found[seen] = (ObjectLister(landing).announce_new(), len(requests))
        s3.delete_object(Bucket=landing.landing_bucket, Key=f"{newest}.new")
    assert found == {1_000: (1, 1), 20_000: (1, 1)}


@pytest.mark.integration
def test_other_records_on_the_topic_do_not_move_the_lister(landing: Settings) -> None:
    Bookmark(landing).write("listed/b")
    object_lister.Announcer(landing).send([b'{"key":"listed/z"}', b"nonsense"])
    assert ObjectLister(landing)._newest == "listed/b"
