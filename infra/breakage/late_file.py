"""A click object whose key is older than the newest: the lister starts after the newest key, the night finds it."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from infra.breakage import promise, streams
from infra.breakage.ground import Ground
from infra.demo import processes
from infra.demo.checks import Check
from infra.shop.clickstream import ClickObject, ObjectWriter, Visitors, key_time, session
from infra.shop.faults import FaultSchedule
from infra.shop.history import STOCKED_PRODUCTS
from infra.shop.opening import Shop
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS

VISITS = 20
LATE_BY = timedelta(hours=2)


def run(ground: Ground) -> None:
    """Put it, see that it is not seen, reconcile its day, compare. Raises `PromiseBroken`."""
    settings = ground.settings
    hours = LATE_BY // timedelta(hours=1)
    ground.say(f"Puts a click object into {settings.landing_bucket} whose key is {hours} hours older than the newest.")
    streams.catch_up_first(ground, "clicks")
    with ground.shop() as shop:
        late = late_object(shop)
        newest = shop.account.last_object
        shop.parts.landing.put(late, shop.book)
    ground.say(f"{late.key} has {late.good} lines; the newest key is {newest}.")
    streams.catch_up(ground, "clicks")
    unseen = lines_of(settings, late)
    ground.say(
        f"Bronze holds {unseen} lines of it: the lister starts after the newest key. The night lists whole days:"
    )
    day = f"{key_time(late.key, settings.landing_prefix):%Y-%m-%d}"
    ground.say(f"  $ lakehouse clicks reconcile --date {day}")
    processes.call(settings.home, "clicks", "reconcile", "--date", day)
    streams.catch_up(ground, "clicks")
    seen = [
        Check("lines of the late object in Bronze before the reconciliation", 0, unseen),
        Check("lines of the late object in Bronze after it", late.good, lines_of(settings, late)),
    ]
    promise.require(ground, seen, promise.clicks(settings))


def late_object(shop: Shop) -> ClickObject:
    """An object of good lines, some hours before the newest one."""
    prefix = shop.settings.landing_prefix
    rng = Random(shop.seed_for("late"))
    at = key_time(shop.account.last_object, prefix) - LATE_BY - timedelta(microseconds=rng.randrange(1_000_000))
    database = shop.parts.database
    people = Visitors(database.keys("customers", 2_000), database.products_by_sales(STOCKED_PRODUCTS))
    visits = [session(rng, people, at - timedelta(minutes=5), at) for _ in range(VISITS)]
    events = sorted((event for visit in visits for event in visit), key=lambda event: event["_at"])
    return ObjectWriter(rng, prefix, FaultSchedule((), 0.0)).write(events, at)


def lines_of(settings: Settings, one: ClickObject) -> int:
    """How many lines of the object Bronze holds."""
    return sum(source.endswith(one.key) for source in promise.sources(settings, CLICK_EVENTS.name))
