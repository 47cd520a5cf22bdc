"""Clicks in any order and any cut give one row per event id, the first; visits are those that all clicks make."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from table_rows import frame, row

from batch import clicks, sessions
from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, CLICK_KEYS, CLICKS, SESSIONS

BEGIN = datetime(2026, 3, 28, 22, 0, 0)  # two hours before a day on which clocks are set forward
FUNNEL = ["product_view", "add_to_cart", "checkout", "purchase"]
LONDON = ZoneInfo("Europe/London")
Click = dict[str, Any]


def click(event_id: str, minute: float = 0, **values: Any) -> Click:
    """A row of Bronze; minutes count from two hours before midnight."""
    at = BEGIN + timedelta(minutes=minute)
    kafka = {"_topic": "clicks.objects", "_partition": 0, "_etag": "e", "timestamp": at, "event_date": at.date()}
    return row("bronze.click_events", event_id=event_id) | kafka | values


class Lake:
    """Bronze, to which clicks arrive, and Silver after each night."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark, self.settings, self.offset = spark, settings, 0

    def arrive(self, *rows: Click) -> None:
        numbered = [one | {"_offset": self.offset + number} for number, one in enumerate(rows)]
        self.offset += len(rows)
        delta_io.append(frame(self.spark, CLICK_EVENTS.schema, numbered).coalesce(1), CLICK_EVENTS, self.settings)

    def night(self, *rows: Click) -> None:
        if rows:
            self.arrive(*rows)
        clicks.run(self.spark, self.settings)
        sessions.run(self.spark, self.settings)

    def rows(self, spec: Any) -> list[Any]:
        return delta_io.read(self.spark, spec, self.settings).collect()

    def clicks(self) -> dict[str, Any]:
        found = {one["event_id"]: one for one in self.rows(CLICKS)}
        assert len(found) == len(self.rows(CLICKS))
        return found

    def visits(self) -> dict[str, Any]:
        found = {one["session_id"]: one for one in self.rows(SESSIONS)}
        assert len(found) == len(self.rows(SESSIONS))
        return found

    def versions(self) -> list[int]:
        return [delta_io.version(self.spark, spec, self.settings) for spec in (CLICKS, CLICK_KEYS, SESSIONS)]


@pytest.fixture
def lake(spark: SparkSession, settings: Settings) -> Lake:
    return Lake(spark, settings)


# What the tables must hold, in a few lines of Python.


def first_of_each(log: list[Click]) -> dict[str, Click]:
    place = ["timestamp", "_source_file", "_source_line", "_etag"]
    firsts: dict[str, Click] = {}
    for one in sorted(log, key=lambda one: [one[name] for name in place]):
        firsts.setdefault(one["event_id"], one)
    return firsts


def business_day(at: datetime) -> date:
    return at.replace(tzinfo=UTC).astimezone(LONDON).date()


def visits_of(firsts: list[Click]) -> dict[str, tuple[Any, ...]]:
    tied = defaultdict(list)
    for one in sorted(firsts, key=lambda one: (one["timestamp"], one["event_id"])):
        if (one["session_id"] or "").strip():
            tied["s", one["session_id"], 0].append(one)
        else:
            who = ("u", one["user_id"]) if one["user_id"] else ("e", one["event_id"])
            number = max((key[2] for key in tied if key[:2] == who), default=0)
            before = tied.get((*who, number))
            paused = before and one["timestamp"] - before[-1]["timestamp"] > timedelta(minutes=30)
            tied[(*who, number + bool(paused))].append(one)
    return {
        (key[1] if key[0] == "s" else f"inferred:{visit[0]['event_id']}"): summary(visit) for key, visit in tied.items()
    }


def summary(visit: list[Click]) -> tuple[Any, ...]:
    reached = 0
    for one in visit:
        reached += reached < len(FUNNEL) and one["event_type"] == FUNNEL[reached]
    kinds = [one["event_type"] for one in visit]
    begun, ended = visit[0]["timestamp"], visit[-1]["timestamp"]
    users = [one["user_id"] for one in visit if one["user_id"]]
    return (
        users[0] if users else None, begun, ended, (ended - begun) // timedelta(seconds=1), business_day(begun),
        len(visit), *[kinds.count(kind) for kind in ("page_view", *FUNNEL)], reached, visit[0]["page_url"],
        sorted({one["product_id"] for one in visit if one["product_id"]}),
    )  # fmt: skip


MEASURES = (
    "user_id", "started_at", "ended_at", "duration_seconds", "event_date", "events", "page_views", "product_views",
    "add_to_carts", "checkouts", "purchases", "funnel_steps_in_order", "first_page_url", "product_ids",
)  # fmt: skip


def random_log(rng: Random, users: int) -> list[Click]:
    """Many independent visitors side by side; ids come again with other times, places, sessions and users."""
    log = []
    for user in range(users):
        for number in range(rng.randint(1, 7)):
            event_id = f"{user}-{rng.randint(0, 5)}"
            who = rng.choice([f"u{user}", f"u{user}", None])
            session = rng.choice([None, None, "", f"s{user}", f"t{user}"])
            log.append(
                click(
                    event_id, rng.choice([0, 7, 29, 30, 31, 59, 61, 90, 119, 121, 1500, 4000]), user_id=who,
                    session_id=session, event_type=rng.choice(["page_view", *FUNNEL]),
                    page_url=rng.choice([None, "/a", "/b"]), product_id=rng.choice([None, "P1", "P2"]),
                    _source_file=f"clicks/{rng.choice('abc')}.jsonl", _source_line=user * 10 + number,
                )
            )  # fmt: skip
    return log


@pytest.mark.slow
@bounds(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(2, 3))
def test_any_order_and_any_cut_give_what_a_fold_over_the_whole_log_gives(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seed: int, nights: int
) -> None:
    rng = Random(seed)
    home = tmp_path_factory.mktemp("clicks")
    lake = Lake(spark, Settings(home=home, _env_file=None))  # type: ignore[call-arg]
    log = random_log(rng, users=150)
    log += rng.sample(log, len(log) // 5)
    rng.shuffle(log)
    cuts = sorted(rng.sample(range(1, len(log)), nights - 1))
    for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        lake.night(*log[begin:end])

    expected = first_of_each(log)
    found = lake.clicks()
    names = ("session_id", "user_id", "event_type", "page_url", "product_id", "_source_file", "_source_line")
    assert {key: tuple(one[name] for name in names) for key, one in found.items()} == {
        key: tuple(one[name] for name in names) for key, one in expected.items()
    }
    assert {key: one["event_date"] for key, one in found.items()} == {
        key: business_day(one["timestamp"]) for key, one in expected.items()
    }
    visits = lake.visits()
    assert {key: tuple(one[name] for name in MEASURES) for key, one in visits.items()} == visits_of(
        list(expected.values())
    )
    before = lake.versions()
    lake.night()
    assert lake.versions() == before
