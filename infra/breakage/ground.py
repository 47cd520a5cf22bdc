"""Where it is allowed to break something: the running embedded stack of this home, with a shop that has traded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

from infra.local import stack
from infra.local.plan import Plan, read_plan
from infra.shop.account import read_account
from infra.shop.faults import Encode, FaultSchedule
from infra.shop.history import send_stock
from infra.shop.opening import Shop, open_shop
from infra.shop.stock import StockBook, live_stock
from lakehouse import lease
from lakehouse.errors import LakehouseError
from lakehouse.settings import PREFIX, Settings
from lakehouse.tables import CLICK_EVENTS, INVENTORY_EVENTS

ADDRESSES = (
    "kafka_bootstrap_servers",
    "schema_registry_url",
    "connect_url",
    "postgres_host",
    "postgres_port",
    "s3_endpoint",
)
ELSEWHERE = ("warehouse_uri", "checkpoint_uri")
RECORDS_PER_BATCH = 1_000
Say = Callable[[str], None]


class StackIsDown(LakehouseError):
    """There is nothing to break."""

    def __init__(self, home: Path, stopped: Sequence[str]) -> None:
        found = f"{', '.join(stopped)} does not answer" if stopped else "it was never started"
        super().__init__(
            f"The embedded stack of {home} is not up ({found}): `lakehouse break` works on it alone. "
            "Run `make demo` (or `lakehouse up`) first."
        )


class NotTheEmbeddedStack(LakehouseError):
    """The settings name systems that may be real."""

    def __init__(self, names: Sequence[str]) -> None:
        listed = ", ".join(f"{PREFIX}{name.upper()}" for name in names)
        super().__init__(
            f"`lakehouse break` damages what it is pointed at, and these settings do not point at the embedded stack "
            f"of this home: {listed}. Nothing was touched; unset them to break the embedded stack."
        )


class NothingTraded(LakehouseError):
    """Without the shop's account nobody could say afterwards what should be there."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"No shop has traded in {home}, so there is nothing to compare with. Run `make demo` first.")


class StreamsRun(LakehouseError):
    """The commands start and kill streams of their own."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"A driver runs {', '.join(names)}: stop it first (Ctrl-C); `lakehouse break` starts streams of its own."
        )


@dataclass(frozen=True)
class Ground:
    """A stack that may be damaged, and where to tell what happens."""

    settings: Settings
    plan: Plan
    say: Say

    @contextmanager
    def shop(self) -> Iterator[Shop]:
        """The shop of this home, open: what it sends is in its account, so that the next demo still compares equal."""
        account = read_account(self.settings)
        day = date.fromisoformat(account.business_date)
        with open_shop(self.settings, seed=account.seed, business_date=day) as shop:
            yield shop


def stand_on(settings: Settings, say: Say) -> Ground:
    """Make sure that nothing but the embedded stack of this home can be hit.

    Raises `StackIsDown`, `NotTheEmbeddedStack`, `NothingTraded`, `StreamsRun`.
    """
    plan = read_plan(settings.home)
    if plan is None:
        raise StackIsDown(settings.home, [])
    if wrong := pointing_elsewhere(settings, plan):
        raise NotTheEmbeddedStack(wrong)
    if stopped := [one.name for one in stack.status(settings.home) if not one.is_healthy]:
        raise StackIsDown(settings.home, stopped)
    if not read_account(settings).run:
        raise NothingTraded(settings.home)
    leases = [f"stream-{spec.table}" for spec in (INVENTORY_EVENTS, CLICK_EVENTS)]
    if held := [name for name in leases if lease.is_held(name, settings)]:
        raise StreamsRun(held)
    return Ground(settings, plan, say)


def pointing_elsewhere(settings: Settings, plan: Plan) -> list[str]:
    """Names of the settings that are not those of the stack of this plan."""
    own = plan.environment()
    wrong = [name for name in ADDRESSES if str(getattr(settings, name)) != own[f"{PREFIX}{name.upper()}"]]
    return wrong + [name for name in ELSEWHERE if getattr(settings, name)]


def movements(shop: Shop, rng: Random, count: int) -> list[dict[str, Any]]:
    """`count` stock movements of everyday business: they go on from the present levels and alarm nobody."""
    levels = shop.account.levels
    book = StockBook(sorted({sku for sku, _ in levels}), levels, shop.account.reorder_point)
    events: list[dict[str, Any]] = []
    while len(events) < count:
        # Goods that run low sell nothing, a transfer is two movements: a few less or one more than asked for.
        events += live_stock(rng, book, (), count - len(events), shop.clock())
    return events[:count]


def send(
    shop: Shop, count: int, reasons: Sequence[str] = (), bad_share: float = 0.0, encode: Encode | None = None
) -> int:
    """Send stock movements, and bad records of each reason in turn between them; returns how many records."""
    # Not the same events again when one command sends twice.
    rng = Random(shop.seed_for(f"break/{shop.account.entries}"))
    before = shop.account.inventory.records
    events = movements(shop, rng, count)
    faults = FaultSchedule(reasons, bad_share)
    for first in range(0, len(events), RECORDS_PER_BATCH):
        batch = events[first : first + RECORDS_PER_BATCH]
        send_stock(shop, rng, batch, faults, encode or shop.parts.events.inventory_encoder())
    return shop.account.inventory.records - before
