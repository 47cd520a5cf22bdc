"""The lister announces each object once and in order, nothing behind one that is still being written, and asks the
store as often for the newest object of twenty thousand as of one thousand.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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

    def paginate(self, StartAfter: str, Prefix: str, **_: Any) -> list[dict[str, Any]]:  # noqa: N803 - S3's own names
        if "" in self.etags:
            raise RuntimeError("an answer that nobody expects")
        newer = sorted(key for key in self.etags if key > StartAfter and key.startswith(Prefix))
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
        self.keys += [json.loads(value)["key"] for value in values]
        return len(self.keys) - before

    def read(self) -> str:
        return self.newest

    def write(self, key: str) -> None:
        self.newest = key


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def lister(settings: Settings, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(object_lister, "s3_client", lambda _: Bucket())
    monkeypatch.setattr(object_lister, "Announcer", lambda _: topic)
    monkeypatch.setattr(object_lister, "Bookmark", lambda _: topic)
    return ObjectLister(settings)


def of_day(name: str, days: int = 0) -> str:
    """A key of today, or so many days later."""
    return f"clicks/date={datetime.now(UTC).date() + timedelta(days=days)}/{name}"


def test_each_object_is_announced_once_in_the_order_of_keys(lister: Any, topic: Topic) -> None:
    a, b, c = map(of_day, "abc")
    lister._s3.etags = {b: "2", a: "1"}
    lister.announce_new()
    lister._s3.etags[c] = "3"
    lister.announce_new()
    assert topic.keys == [a, b, c]
    assert topic.newest == c


def test_nothing_behind_an_object_that_is_still_being_written_is_announced(lister: Any, topic: Topic) -> None:
    a, b, c = map(of_day, "abc")
    lister._s3.etags = {a: "1", b: None, c: "3"}
    assert lister.announce_new() == 1
    assert lister.has_new()
    lister._s3.etags[b] = "2"
    assert lister.announce_new() == 2
    assert topic.keys == [a, b, c]


STRAY = [
    "clicks/readme.txt",
    "clicks/date=today",
    "clicks/date=soon/a",
    of_day("a", days=2),
    "clicks/date=2036x/date=2026-01-01/a",
]


@pytest.mark.parametrize("stray", STRAY)
def test_a_stray_key_hides_none_that_come_after_it(stray: str, lister: Any, topic: Topic) -> None:
    lister._s3.etags = {of_day("a"): "1", stray: "9"}
    assert lister.announce_new() == 1
    assert not lister.has_new()
    lister._s3.etags[of_day("b")] = "2"
    assert lister.announce_new() == 1
    assert topic.keys == [of_day("a"), of_day("b")]


def test_a_collector_may_be_a_day_ahead_and_hides_none_of_today(lister: Any, topic: Topic) -> None:
    ahead, before, later = of_day("a", days=1), of_day("b"), of_day("c")
    lister._s3.etags = {ahead: "1", before: "2"}
    assert lister.announce_new() == 2
    assert not lister.has_new()
    further = of_day("d", days=1)
    lister._s3.etags |= {later: "3", further: "4"}
    assert lister.has_new()
    assert lister.announce_new() == 2
    assert lister.announce_new() == 0
    assert topic.keys == [before, ahead, later, further]
    assert topic.newest == later


def test_a_key_that_was_ahead_is_remembered_when_its_day_comes(
    lister: Any, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = of_day("a", days=1)
    lister._s3.etags = {ahead: "1"}
    lister.announce_new()
    assert topic.newest == ""

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=1)

    monkeypatch.setattr(object_lister, "datetime", Tomorrow)
    assert lister.announce_new() == 0
    assert (topic.keys, topic.newest) == ([ahead], ahead)


@pytest.mark.parametrize("stray", STRAY)
def test_a_place_that_a_stray_key_took_is_given_up(stray: str, settings: Settings, lister: Any, topic: Topic) -> None:
    topic.write(stray)
    later: Any = ObjectLister(settings)
    later._s3.etags = {of_day("a"): "1"}
    assert later.announce_new() == 1


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
    prefix = f"{settings.landing_prefix}date=2026-11-23/"
    folder: Path = settings.home / "stack" / "s3" / "buckets" / settings.landing_bucket / prefix
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:08d}.jsonl").touch()
    return f"{prefix}{count - 1:08d}.jsonl"


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
    Bookmark(landing).write("listed/date=2026-11-23/b")
    object_lister.Announcer(landing).send([b'{"key":"listed/z"}', b"nonsense"])
    assert ObjectLister(landing)._newest == "listed/date=2026-11-23/b"
