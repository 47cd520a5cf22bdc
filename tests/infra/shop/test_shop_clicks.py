from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from infra.shop.business_time import busy_times, day_bounds
from infra.shop.catalogue import make_products
from infra.shop.clickstream import EVENTS_PER_SESSION, ClickObject, ObjectWriter, Visitors, by_hour, key_time, session
from infra.shop.faults import CLICK_REASONS, FaultSchedule

ORDER = ["page_view", "product_view", "add_to_cart", "checkout", "purchase"]


def visits(noon: datetime, seed: int, count: int = 600) -> list[list[dict[str, Any]]]:
    rng = Random(seed)
    people = Visitors(range(1001, 1101), make_products(7, noon))
    begin = noon - timedelta(days=2)
    return [session(rng, people, at, noon) for at in busy_times(rng, begin, noon, count, ZoneInfo("Europe/London"))]


def objects(noon: datetime, seed: int, last_key: str = "") -> list[ClickObject]:
    writer = ObjectWriter(Random(seed), "clicks/", FaultSchedule(CLICK_REASONS, 0.02), last_key)
    events = [event for visit in visits(noon, seed) for event in visit]
    return [writer.write(hour, at) for at, hour in by_hour(events)]


def lines_of(made: ClickObject) -> list[bytes]:
    body = gzip.decompress(made.body) if made.key.endswith(".gz") else made.body
    assert body.endswith(b"\n")
    return body.split(b"\n")[:-1]


def good_events(made: list[ClickObject]) -> list[dict[str, Any]]:
    """Only lines that parse and have all that the contract wants."""
    events = []
    for line in (line for one in made for line in lines_of(one)):
        try:
            event = json.loads(line)
            at = datetime.fromisoformat(event["timestamp"])
        except (ValueError, TypeError, KeyError):
            continue
        if event.get("event_id") and event["event_type"] in ORDER and at.year < 2030:
            events.append(event)
    return events


def test_same_seed_gives_the_same_objects(noon: datetime) -> None:
    assert objects(noon, 7) == objects(noon, 7)
    assert objects(noon, 7) != objects(noon, 8)


def test_counts_of_an_object_are_what_it_holds(noon: datetime) -> None:
    for made in objects(noon, 7):
        assert made.lines == len(lines_of(made)) == made.good + sum(made.bad.values())


def test_good_lines_less_repeats_are_the_different_events(noon: datetime) -> None:
    made = objects(noon, 7)
    ids = Counter(event["event_id"] for event in good_events(made))
    repeats = sum(one.repeats for one in made)
    assert repeats > 0
    assert ids.total() == sum(one.good for one in made)
    assert len(ids) == ids.total() - repeats


def test_keys_grow_and_name_their_date_and_hour(noon: datetime) -> None:
    keys = [one.key for one in objects(noon, 7)]
    assert keys == sorted(keys)
    for key in keys:
        at = key_time(key, "clicks/")
        assert key.startswith(f"clicks/date={at:%Y-%m-%d}/hour={at:%H}/{at:%Y%m%dT%H%M%S%f}-")


def test_keys_grow_across_runs_even_if_the_clock_was_set_back(noon: datetime) -> None:
    last = f"clicks/date=2027-01-01/hour=00/{datetime(2027, 1, 1, tzinfo=UTC):%Y%m%dT%H%M%S%f}-000001.jsonl"
    keys = [one.key for one in objects(noon, 7, last_key=last)]
    assert [last, *keys] == sorted({last, *keys})


def test_some_objects_are_zipped_and_one_has_fields_nobody_declared(noon: datetime) -> None:
    made = objects(noon, 7)
    assert 0 < sum(one.key.endswith(".jsonl.gz") for one in made) < len(made)
    strange = [one for one in made if one.with_unknown_fields]
    assert len(strange) == 1
    assert sum(b'"experiment":"B"' in line for line in lines_of(strange[0])) == strange[0].with_unknown_fields


def test_a_visit_goes_down_the_funnel(noon: datetime) -> None:
    funnel = Counter(event["event_type"] for visit in visits(noon, 7) for event in visit)
    assert funnel["page_view"] > funnel["add_to_cart"] > funnel["checkout"] > 0
    assert funnel["purchase"] > 0
    for visit in visits(noon, 7):
        seen = {event["event_type"] for event in visit}
        assert "purchase" not in seen or {"product_view", "add_to_cart", "checkout"} <= seen


def test_some_visits_have_no_session_id_and_lack_it_in_all_their_events(noon: datetime) -> None:
    kept = [{event["session_id"] for event in visit} for visit in visits(noon, 7) if visit]
    assert all(len(ids) == 1 for ids in kept)
    assert {None, ""} < set.union(*kept)
    lacking = sum(not (ids - {None, ""}) for ids in kept)
    assert 0.01 < lacking / len(kept) < 0.09


def test_nothing_happens_after_the_present(noon: datetime) -> None:
    assert max(event["_at"] for visit in visits(noon, 7) for event in visit) < noon


def test_average_visit_is_as_long_as_the_sizes_assume(noon: datetime) -> None:
    lengths = [len(visit) for visit in visits(noon, 7, count=3_000)]
    assert abs(sum(lengths) / len(lengths) / EVENTS_PER_SESSION - 1) < 0.1


def test_noon_is_busier_than_night() -> None:
    zone = ZoneInfo("Europe/London")
    begin, end = day_bounds(date(2026, 6, 15), zone)
    hours = Counter(at.astimezone(zone).hour for at in busy_times(Random(1), begin, end, 2_000, zone))
    assert hours[12] > 5 * hours[3]


def test_day_in_which_clocks_are_set_back_has_25_hours() -> None:
    begin, end = day_bounds(date(2026, 10, 25), ZoneInfo("Europe/London"))
    assert end - begin == timedelta(hours=25)
