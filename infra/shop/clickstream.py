"""Visits to the shop: sessions that go down the funnel, and the objects that carry their events."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from random import Random
from typing import Any

from infra.shop.catalogue import Product, skewed
from infra.shop.faults import FaultSchedule, click_fault, click_line, new_event_id

EVENTS_PER_SESSION = 4.6
"""Average over many sessions; a test holds it within ten percent."""
ONE_WITHOUT_SESSION_IN = 25
"""Visits: the browser keeps no session id, which is then null or empty."""
_BROWSE = ("/", "/sale", "/new", "/about", "/search?q=caf%C3%A9")
_SEARCHES = ("mug", "thé à la menthe", "birthday", "crème bowl", "storage")
_REFERRERS = ("newsletter", "search engine", "direct", "social", "partner")

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visitors:
    """Who comes and what they look at; products in order of popularity."""

    customer_ids: Sequence[int]
    products: Sequence[Product]


@dataclass(frozen=True, slots=True)
class ClickObject:
    """One object for the landing bucket and what the account notes about it."""

    key: str
    body: bytes
    lines: int
    good: int
    repeats: int
    with_unknown_fields: int
    bad: dict[str, int]


def session(rng: Random, visitors: Visitors, begin: datetime, end: datetime) -> list[Event]:
    """The events of one visit that begins at `begin`, without those at or after `end`; times in `_at`."""
    user = str(rng.choice(visitors.customer_ids)) if visitors.customer_ids and rng.random() < 0.62 else None
    number = rng.getrandbits(48)
    visit = f"s-{number:012x}" if number % ONE_WITHOUT_SESSION_IN else ("" if number % 2 else None)
    events: list[Event] = []
    at = begin
    for event_type, page_url, properties in _funnel(rng, visitors.products):
        if at < end:
            events.append(_event(rng, user, visit, event_type, page_url, properties, at))
        at += timedelta(milliseconds=rng.randint(1_500, 95_000))
    return events


def _funnel(rng: Random, products: Sequence[Product]) -> Iterator[tuple[str, str, dict[str, str]]]:
    first = {"referrer": rng.choice(_REFERRERS)}
    if rng.random() < 0.2:
        first["search"] = rng.choice(_SEARCHES)
    yield "page_view", rng.choice(_BROWSE), first
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        yield "page_view", rng.choice(_BROWSE), {}
    cart = []
    for _ in range(rng.choice((0, 1, 1, 2, 3, 4))):
        product = skewed(rng, products)
        yield "product_view", f"/product/{product.product_id}", {"product_id": product.product_id}
        if rng.random() < 0.42:
            cart.append(product)
            yield "add_to_cart", "/cart", {"product_id": product.product_id, "quantity": str(rng.randint(1, 4))}
    if not cart or rng.random() < 0.4:
        return
    yield "checkout", "/checkout", {"product_id": cart[-1].product_id}
    if rng.random() < 0.7:
        for product in cart:
            yield "purchase", "/thanks", {"product_id": product.product_id, "value": str(product.unit_price)}


def _event(
    rng: Random,
    user: str | None,
    visit: str | None,
    event_type: str,
    page_url: str,
    properties: dict[str, str],
    at: datetime,
) -> Event:
    return {
        "event_id": new_event_id(rng),
        "user_id": user,
        "session_id": visit,
        "event_type": event_type,
        "page_url": page_url,
        "timestamp": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
        "properties": properties,
        "_at": at,
    }


def by_hour(events: Iterable[Event]) -> Iterator[tuple[datetime, list[Event]]]:
    """Events in groups of one UTC hour, in the order of their times, with the time of the last of each."""
    ordered = sorted(events, key=lambda event: (event["_at"], event["event_id"]))
    for _, group in groupby(
        ordered, key=lambda event: event["_at"].astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    ):
        hour = list(group)
        yield hour[-1]["_at"].astimezone(UTC), hour


class ObjectWriter:
    """Makes objects with keys that only grow, with their share of repeats and bad lines."""

    def __init__(
        self, rng: Random, prefix: str, faults: FaultSchedule, last_key: str = "", unknown_at: int = 2
    ) -> None:
        self._rng = rng
        self._prefix = prefix
        self._faults = faults
        self._last = key_time(last_key, prefix) if last_key else datetime(1970, 1, 1, tzinfo=UTC)
        self._unknown_at = unknown_at
        self._made = 0

    def write(self, events: Sequence[Event], at: datetime) -> ClickObject:
        """One object that holds the events; the key carries `at`, or the time after the last key if that is later."""
        self._made += 1
        at = self._last = max(at.astimezone(UTC), self._last + timedelta(microseconds=1))
        plain = [{name: value for name, value in event.items() if name != "_at"} for event in events]
        lines = [click_line(event) for event in plain]
        unknown = len(lines) if self._made == self._unknown_at else 0
        if unknown:
            lines = [click_line(event | {"experiment": "B", "device": {"os": "iOS", "width": 390}}) for event in plain]
        repeats = self._repeat(lines)
        bad = self._spoil(lines, plain)
        body = b"\n".join(lines) + b"\n"
        zipped = self._made % 4 == 0
        if zipped:
            body = gzip.compress(body, mtime=0)
        key = f"{self._prefix}date={at:%Y-%m-%d}/hour={at:%H}/{at:%Y%m%dT%H%M%S%f}-{self._made:06d}.jsonl"
        key += ".gz" if zipped else ""
        counted = len(events) + len(repeats)
        return ClickObject(key, body, len(lines), counted, len(repeats), unknown, bad)

    def _repeat(self, lines: list[bytes]) -> list[bytes]:
        """Deliver a few lines of every third object twice, as a collector does that missed its acknowledgement."""
        if self._made % 3:
            return []
        repeats = self._rng.sample(lines, min(len(lines), self._rng.randint(1, 3)))
        lines += repeats
        return repeats

    def _spoil(self, lines: list[bytes], plain: Sequence[Event]) -> dict[str, int]:
        reasons = self._faults.take(len(plain)) if plain else []
        for reason in reasons:
            bad = click_fault(self._rng, reason, self._rng.choice(plain))
            lines.insert(self._rng.randint(0, len(lines)), bad)
        return dict(sorted(Counter(reasons).items()))


def key_time(key: str, prefix: str) -> datetime:
    """The UTC time in an object's key."""
    stamp = key.removeprefix(prefix).rsplit("/", 1)[-1].split("-", 1)[0]
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
