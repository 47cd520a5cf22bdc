"""An open shop: connected to the real Postgres, Kafka and S3, with its account settled and its lease held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from infra.shop.account import Account
from infra.shop.bookkeeping import AccountBook, Identity
from infra.shop.database import ShopDatabase
from infra.shop.errors import DateAhead
from infra.shop.events import ShopEvents
from infra.shop.landing import Landing
from lakehouse.lease import hold
from lakehouse.logs import get_logger
from lakehouse.settings import Settings

log = get_logger(__name__)

Progress = Callable[[str], None]
"""Called with a line that says how far the shop is."""


def silent(line: str) -> None:
    """Progress that nobody watches."""


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Sizes:
    """How much happens. Defaults make about 3,000 orders, 20,000 stock movements and 15,000 clicks in all."""

    orders: int = 3_000
    """Order rows in the 14 days of history; live trade adds a few per cent."""
    scale: float = 1.0
    """Multiplies everything, customers included; products stay."""
    ticks: int = 20
    """Moments of live trade."""

    def of(self, count: float, least: int = 1) -> int:
        """A count at this scale."""
        return max(round(count * self.scale), least)


@dataclass(frozen=True, slots=True)
class Parts:
    """The real parts that the shop delivers to; they also know what arrived (see `bookkeeping.Receivers`)."""

    database: ShopDatabase
    events: ShopEvents
    landing: Landing

    def identity(self) -> Identity:
        """Which systems answer."""
        return Identity(postgres=self.database.identity(), kafka=self.events.identity())

    def transaction_committed(self, entry: int, transaction_id: str) -> bool:
        """Whether Postgres committed the transaction."""
        return self.database.transaction_committed(entry, transaction_id)

    def object_exists(self, key: str) -> bool:
        """Whether the landing bucket has the object."""
        return self.landing.object_exists(key)

    def arrived_records(self, topic: str, start: dict[int, int], prefix: str) -> list[int]:
        """Indexes of the records that are on the topic."""
        return self.events.reader.arrived_records(topic, start, prefix)


@dataclass(frozen=True, slots=True)
class Shop:
    """An open shop: what this run is to do, the account, and the real parts."""

    settings: Settings
    seed: int
    business_date: date
    sizes: Sizes
    orders_csv: Path | None
    progress: Progress
    clock: Callable[[], datetime]
    book: AccountBook
    parts: Parts
    _told: dict[str, int] = field(default_factory=dict)

    @property
    def zone(self) -> ZoneInfo:
        """Zone of the business day."""
        return ZoneInfo(self.settings.business_time_zone)

    @property
    def account(self) -> Account:
        """What was produced so far."""
        return self.book.account

    def report(self, what: str, done: int, total: int) -> None:
        """Tell that `done` of `total` are done: once for each quarter."""
        quarter = done * 4 // total if total else 4
        if quarter > self._told.get(what, 0):
            self._told[what] = quarter
            self.progress(f"{what}: {done:,} of {total:,}")

    def seed_for(self, step: str) -> str:
        """Seed of one step of one run; a later run does something else."""
        return f"{self.seed}/{self.account.run}/{step}"


@contextmanager
def open_shop(
    settings: Settings,
    *,
    seed: int = 7,
    business_date: date | None = None,
    sizes: Sizes | None = None,
    orders_csv: Path | None = None,
    progress: Progress = silent,
    clock: Callable[[], datetime] = utc_now,
) -> Iterator[Shop]:
    """Connect to everything, settle what a dead shop left open, and begin a run.

    `business_date` defaults to today in the business zone. Raises `LeaseHeld` when a shop already runs in this home,
    `ServiceUnreachable` for a part that does not answer, `AccountBelongsElsewhere`, `AccountUnsettled`,
    `TablesNotReady`, `DateAhead`.
    """
    with _settled(settings) as (book, parts):
        today = clock().astimezone(ZoneInfo(settings.business_time_zone)).date()
        day = business_date or today
        if day > today:
            raise DateAhead(day, today, settings.business_time_zone)
        parts.database.require_tables(empty=book.account.run == 0)
        book.open(parts.identity(), seed, day.isoformat())
        yield Shop(settings, seed, day, sizes or Sizes(), orders_csv, progress, clock, book, parts)


def settle_account(settings: Settings) -> Account:
    """Find out what became of everything that a dead shop left open, without beginning a run. Raises as `open_shop`."""
    with _settled(settings) as (book, _):
        return book.account


@contextmanager
def _settled(settings: Settings) -> Iterator[tuple[AccountBook, Parts]]:
    with ExitStack() as stack:
        stack.enter_context(hold("shop", settings))
        database = stack.enter_context(ShopDatabase(settings))
        parts = Parts(database, ShopEvents(settings), Landing(settings))
        book = stack.enter_context(AccountBook(settings))
        book.check(parts.identity())
        found = book.settle(parts)
        if found:
            log.info("account_settled", entries=found)
        yield book, parts
