"""Clicks in any order and any cut give one row per event id, the first; visits are those that all clicks make."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote, urlparse
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from table_rows import frame, row

from batch import click_keys, clicks, cut, sessions
from lakehouse import delta_io
from lakehouse.append import Append
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, CLICK_KEYS, CLICKS, SESSIONS

pytestmark = pytest.mark.slow
BEGIN = datetime(2026, 3, 28, 22, 0, 0)  # two hours before a day on which clocks are set forward
FULL_WAY = list(enumerate(["page_view", "product_view", "add_to_cart", "checkout", "purchase"]))
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

    def arrive(self, *rows: Click, offset: int | None = None) -> None:
        """At the end of the topic, or where a row was that comes back."""
        begin = self.offset if offset is None else offset
        numbered = [one | {"_offset": begin + number} for number, one in enumerate(rows)]
        self.offset = max(self.offset, begin + len(rows))
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


def inferred(event_id: str, minute: float, user_id: str | None, **values: Any) -> Click:
    return click(event_id, minute, user_id=user_id, session_id=None, **values)


@dataclass
class Story:
    """What stood after each night; each test looks at ids of its own."""

    lake: Lake
    clicks: list[dict[str, Any]]
    visits: list[dict[str, Any]]


@pytest.fixture(scope="module")
def story(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Story:
    story = Story(Lake(spark, home(tmp_path_factory)), [], [])
    nights = (
        [
            click("moves", 200, session_id="sm"),
            click("stays", 0, page_url="/first", session_id="st"),
            click("buys", 0, event_type="purchase", session_id="odd"),
            click("looks", 1, event_type="product_view", session_id="odd"),
            *[click(f"f{n}", n, event_type=kind, session_id="fun", product_id=f"P{n % 2}") for n, kind in FULL_WAY],
            *[inferred("j1", 0, "joined"), inferred("j2", 50, "joined")],
            *[inferred("l1", 20, "longer"), inferred("l2", 50, "longer")],
            *[inferred("k1", 0, "split"), inferred("k2", 25, "split"), inferred("k3", 50, "split")],
            *[inferred("n1", 0, None), inferred("n2", 0, " ")],
            click("leaves", 100, session_id="left"),
            click("signs-in", 0, session_id="in", user_id=None),
        ],
        [
            click("moves", 5, session_id="sm", _source_line=9),
            click("stays", 0, page_url="/second", session_id="other", _source_line=2),
            inferred("j3", 25, "joined"),
            inferred("l0", -5, "longer"),
            inferred("k2", -200, "split"),
            click("leaves", 90, session_id="found"),
            click("signed-in", 9, session_id="in", user_id="u9"),
        ],
    )
    for number, night in enumerate(nights):
        story.lake.night(*[{"_source_line": 10 * number + line} | one for line, one in enumerate(night)])
        story.clicks.append(story.lake.clicks())
        story.visits.append(story.lake.visits())
    return story


def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("lake"), _env_file=None)  # type: ignore[call-arg]


def test_an_earlier_occurrence_takes_the_place_and_moves_to_its_day(story: Story) -> None:
    first, second = (night["moves"] for night in story.clicks)
    assert (first["event_date"], second["event_date"]) == (date(2026, 3, 29), date(2026, 3, 28))
    assert second["event_at"] == BEGIN + timedelta(minutes=5)


def test_a_later_occurrence_changes_nothing(story: Story) -> None:
    assert story.clicks[1]["stays"] == story.clicks[0]["stays"]
    assert story.visits[1]["st"] == story.visits[0]["st"]
    assert "other" not in story.visits[1]


def test_a_late_click_joins_two_visits_under_the_id_of_the_first(story: Story) -> None:
    before, after = (
        {key: one["events"] for key, one in night.items() if one["user_id"] == "joined"} for night in story.visits
    )
    assert (before, after) == ({"inferred:j1": 1, "inferred:j2": 1}, {"inferred:j1": 3})


def test_a_late_click_that_comes_first_gives_an_inferred_visit_its_id(story: Story) -> None:
    before, after = ({key for key, one in night.items() if one["user_id"] == "longer"} for night in story.visits)
    assert (before, after) == ({"inferred:l1"}, {"inferred:l0"})


def test_a_click_that_moves_away_splits_the_visit_that_it_held_together(story: Story) -> None:
    before, after = ({key for key, one in night.items() if one["user_id"] == "split"} for night in story.visits)
    assert (before, after) == ({"inferred:k1"}, {"inferred:k1", "inferred:k2", "inferred:k3"})


def test_a_visit_that_lost_its_only_click_is_gone(story: Story) -> None:
    assert ("left" in story.visits[0], "left" in story.visits[1]) == (True, False)
    assert story.visits[1]["found"]["events"] == 1


def test_without_session_and_user_each_click_is_a_visit(story: Story) -> None:
    assert {"inferred:n1", "inferred:n2"} <= set(story.visits[0])


def test_signing_in_tells_whose_visit_it_was(story: Story) -> None:
    assert [night["in"]["user_id"] for night in story.visits] == [None, "u9"]


def test_steps_count_in_their_order(story: Story) -> None:
    whole, odd = story.visits[0]["fun"], story.visits[0]["odd"]
    assert (whole["funnel_steps_in_order"], odd["funnel_steps_in_order"]) == (4, 1)
    assert (odd["has_purchase"], odd["has_cart"], whole["duration_seconds"]) == (True, False, 240)
    assert whole["product_ids"] == ["P0", "P1"]


def test_a_visit_that_did_not_change_is_not_written_again(story: Story) -> None:
    touched = {
        key for key, one in story.visits[1].items() if one["_merged_at"] != story.visits[0].get(key, one)["_merged_at"]
    }
    assert touched == {"sm", "inferred:j1", "in", "inferred:k1"} | (touched & {"inferred:l0"})


def test_a_row_that_came_back_from_the_quarantine_is_taken_once_and_nothing_new_is_no_commit(story: Story) -> None:
    lake = story.lake
    lake.arrive(click("back", 7, session_id="back", _replayed_at=datetime(2026, 3, 30), _source_line=90), offset=0)
    lake.night()
    assert lake.clicks()["back"]["session_id"] == "back"
    assert lake.visits()["back"]["events"] == 1
    before = lake.versions()
    assert clicks.run(lake.spark, lake.settings) == 0
    lake.night()
    assert lake.versions() == before
    # The positions did not move back to the offset of that row.
    merged = cut.merged_through(lake.spark, CLICKS, CLICK_EVENTS, lake.settings)
    assert merged["clicks.objects/0"] == lake.offset


def test_offsets_that_begin_again_hide_no_click(spark: SparkSession, settings: Settings) -> None:
    lake = Lake(spark, settings)
    lake.night(click("before"), click("before too", 1))
    Append(spark, CLICK_EVENTS, settings).commit({"begun-again/clicks.objects": 1}, "")
    lake.arrive(click("after", 2), offset=0)
    lake.night()
    assert set(lake.clicks()) == {"before", "before too", "after"}
    before = lake.versions()
    lake.night()
    assert lake.versions() == before


def test_two_attempts_at_once_end_as_one(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, remember = story.lake, click_keys.remember

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(click_keys, "remember", remember)
        assert clicks.run(lake.spark.newSession(), lake.settings) == 1
        remember(*arguments)

    lake.arrive(click("raced", 8, session_id="raced", _source_line=91))
    monkeypatch.setattr(click_keys, "remember", overtaken)
    clicks.run(lake.spark, lake.settings)
    assert "raced" in lake.clicks()


def test_the_index_is_made_of_the_clicks_that_are_there(story: Story) -> None:
    lake = story.lake
    shutil.rmtree(CLICK_KEYS.path(lake.settings))
    lake.night(click("stays", -9, page_url="/earlier", session_id="st", _source_line=92))
    assert lake.clicks()["stays"]["page_url"] == "/earlier"


def test_visits_are_made_anew_where_the_feed_of_changes_is_lost(spark: SparkSession, settings: Settings) -> None:
    lake = Lake(spark, settings)
    feed = f"alter table delta.`{CLICKS.path(lake.settings)}` set tblproperties (delta.enableChangeDataFeed = %s)"
    lake.night(click("fed", 3, session_id="fed", _source_line=93))
    lake.spark.sql(feed % "false")
    lake.arrive(click("unfed", 4, session_id="fed", _source_line=94))
    clicks.run(lake.spark, lake.settings)
    lake.spark.sql(feed % "true")
    sessions.run(lake.spark, lake.settings)
    assert lake.visits()["fed"]["events"] == 2


def test_visits_are_made_anew_where_the_files_of_old_versions_are_gone(spark: SparkSession, settings: Settings) -> None:
    lake = Lake(spark, settings)
    lake.night(click("first", 3, session_id="same", _source_line=95))
    lake.arrive(click("second", 4, session_id="same", _source_line=96))
    clicks.run(lake.spark, lake.settings)
    delta_io.table(spark, CLICKS, lake.settings).optimize().executeCompaction()
    current = {Path(unquote(urlparse(one).path)) for one in delta_io.read(spark, CLICKS, lake.settings).inputFiles()}
    old = set(Path(CLICKS.path(lake.settings)).rglob("*.parquet")) - current
    assert old
    for file in old:
        file.unlink()
    sessions.run(lake.spark, lake.settings)
    assert lake.visits()["same"]["events"] == 2


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


@bounds(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(2, 3))
def test_any_order_and_any_cut_give_what_a_fold_over_the_whole_log_gives(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seed: int, nights: int
) -> None:
    rng = Random(seed)
    lake = Lake(spark, home(tmp_path_factory))
    log = random_log(rng, users=300)
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
