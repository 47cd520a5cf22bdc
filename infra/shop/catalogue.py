"""Who buys and what is sold: seeded customers and products, with skewed prices and popularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from itertools import accumulate
from random import Random
from typing import Any, TypeVar

from infra.shop.descriptions import long_description

FEES = "Fees"
"""Category of what is charged and is no product."""
REGIONS = ("London", "South East", "Midlands", "North West", "Scotland", "Wales", "Northern Ireland")
REGION_WEIGHTS = (30, 22, 16, 14, 9, 6, 3)
FIRST_CUSTOMER_ID = 1001
_CENT = Decimal("0.01")
Item = TypeVar("Item")

_FIRST_NAMES = (
    "Amara", "Ben", "Chloe", "Dev", "Elin", "Farid", "Grace", "Hugo", "Iris", "Jonas", "Kemi", "Liam", "Mei",
    "Nadia", "Owen", "Priya", "Quinn", "Rosa", "Sam", "Tariq", "Una", "Viktor", "Wen", "Yara", "Zofia",
)  # fmt: skip
_LAST_NAMES = (
    "Adeyemi", "Barnes", "Clarke", "Dubois", "Evans", "Fraser", "Gupta", "Hughes", "Iqbal", "Jones", "Kowalski",
    "Lewis", "Morgan", "Novak", "O'Neill", "Patel", "Quigley", "Reid", "Silva", "Taylor", "Usman", "Vance", "Walsh",
    "Young",
)  # fmt: skip
_THINGS = {
    "Kitchen": "Mug, Serving Bowl, Teapot, Bread Bin, Cake Stand, Apron, Storage Jar, Cutting Board, Jug, Egg Cup",
    "Garden": "Planter, Watering Can, Bird Feeder, Wind Chime, Trowel, Lantern, Boot Rack, Seed Box, Trellis, Bunting",
    "Stationery": "Notebook, Wrapping Paper, Pen Set, Card Pack, Desk Tray, Stickers, Diary, Ribbon, Ink, Photo Album",
    "Home": "Cushion, Table Lamp, Door Mat, Wall Clock, Candle Holder, Picture Frame, Throw, Mirror, Coat Hook, Vase",
    "Toys": "Puzzle, Wooden Train, Rag Doll, Building Blocks, Skittles, Kite, Paint Box, Spinning Top, Marbles, Puppet",
    "Bags": "Shopper, Lunch Bag, Wash Bag, Backpack, Purse, Suitcase, Belt Bag, Satchel, Tote, Pencil Case",
}
_STYLES = ("Red Spot", "Blue Stripe", "Woodland", "Vintage", "Ivory", "Slate", "Meadow", "Harbour", "Copper", "Gingham")
_FEES = (("POST", "Postage", "4.95"), ("GIFTWRAP", "Gift wrapping", "3.50"))


@dataclass(frozen=True, slots=True)
class Customer:
    """One row of `customers`; times are UTC."""

    customer_id: int
    customer_name: str
    email: str | None
    region: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Product:
    """One row of `products`; cost and price in pounds, two places."""

    product_id: str
    product_name: str
    category: str | None
    description: str | None
    unit_cost: Decimal | None
    unit_price: Decimal
    updated_at: datetime

    @property
    def is_fee(self) -> bool:
        """Charged, but no product: has no stock and is never viewed."""
        return self.category == FEES


CUSTOMER_COLUMNS = ("customer_id", "customer_name", "email", "region", "created_at", "updated_at")
PRODUCT_COLUMNS = ("product_id", "product_name", "category", "description", "unit_cost", "unit_price", "updated_at")


def to_cents(value: Decimal) -> Decimal:
    """Two places, half up (away from zero for negative values)."""
    return value.quantize(_CENT, rounding=ROUND_HALF_UP)


def make_customers(seed: int, count: int, before: datetime) -> list[Customer]:
    """`count` customers registered in the two years before `before`; a few have no e-mail or no region."""
    rng = Random(f"{seed}/customers")
    two_years = 2 * 365 * 86400
    registered = [before - timedelta(seconds=rng.randrange(60, two_years)) for _ in range(count)]
    return [make_customer(rng, FIRST_CUSTOMER_ID + number, created) for number, created in enumerate(registered)]


def make_customer(rng: Random, customer_id: int, created: datetime) -> Customer:
    """One customer who registered at the UTC time `created`."""
    first, last = rng.choice(_FIRST_NAMES), rng.choice(_LAST_NAMES)
    return Customer(
        customer_id=customer_id,
        customer_name=f"{first} {last}",
        email=None if rng.random() < 0.03 else new_email(rng, first, last, customer_id),
        region=None if rng.random() < 0.01 else new_region(rng),
        created_at=created,
        updated_at=created,
    )


def new_email(rng: Random, first: str, last: str, customer_id: int) -> str:
    """An address in a domain that is reserved for examples."""
    domain = rng.choice(("example.com", "example.org", "example.net"))
    return f"{first}.{last}{customer_id}.{rng.randrange(100)}@{domain}".lower().replace("'", "")


def new_region(rng: Random) -> str:
    """A region, the large ones more often."""
    return rng.choices(REGIONS, REGION_WEIGHTS)[0]


def make_products(seed: int, before: datetime) -> list[Product]:
    """Ten products in each of six categories, and the fees; log-normal prices, cost 40 to 70 % of price."""
    rng = Random(f"{seed}/products")
    products = []
    for category, things in _THINGS.items():
        for number, thing in enumerate(things.split(", "), start=1):
            products.append(_make_product(rng, category, number, thing, before))
    fees = [Product(code, name, FEES, None, Decimal("0.00"), Decimal(price), before) for code, name, price in _FEES]
    return products + fees


def _make_product(rng: Random, category: str, number: int, thing: str, before: datetime) -> Product:
    name = f"{rng.choice(_STYLES)} {thing}"
    price = to_cents(Decimal(repr(round(min(max(rng.lognormvariate(2.1, 0.8), 0.85), 180.0), 2))))
    cost = to_cents(price * Decimal(rng.randint(40, 70)) / 100)
    updated = before - timedelta(days=rng.randint(1, 300))
    description = long_description(rng, name)
    return Product(f"{category[:3].upper()}-{number:03d}", name, category, description, cost, price, updated)


@cache
def popularity(count: int, each: int = 1) -> tuple[float, ...]:
    """Cumulative weights of `count` ranks, `each` times each: like Zipf's, but flatter, so that none sells nothing."""
    return tuple(accumulate(1.0 / (rank // each + 2) ** 0.8 for rank in range(count * each)))


def skewed(rng: Random, items: Sequence[Item]) -> Item:
    """One of the items, the first ones much more often."""
    return rng.choices(items, cum_weights=popularity(len(items)))[0]


def rows_of(records: Sequence[Any], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The records' values in the order of `columns`."""
    return [tuple(getattr(record, column) for column in columns) for record in records]
