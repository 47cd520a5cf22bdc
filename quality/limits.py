"""The bounds that the checks use, as two named sets. `settings.quality_limits` chooses one.

Returns (quantity below 0, amount not above 0) and anonymous buyers (`customer_id` null) are kinds of lines that both
sets model: they have bounds of their own and a share that they may reach, so that neither floods the results nor hides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lakehouse.settings import Settings

STATUSES: Final = ("pending", "processing", "shipped", "delivered", "cancelled")
EVENT_TYPES: Final = ("page_view", "product_view", "add_to_cart", "checkout", "purchase")
MOVEMENTS: Final = ("receipt", "sale", "return", "adjustment", "transfer", "count")
LINE_TYPES: Final = ("sale", "return", "fee")


@dataclass(frozen=True)
class Limits:
    """Bounds for one kind of shop. Amounts and prices in the shop's currency, quantities in pieces, shares 0 to 1."""

    name: str
    sale_quantity_max: int
    """Most pieces in one sale line; the least is 1."""
    return_quantity_max: int
    """Most pieces that one line may take back; the least is 1."""
    wholesale_share_max: float | None
    """Share of sale lines with more than `wholesale_from` pieces; None where `sale_quantity_max` already says it."""
    anonymous_share_max: float
    return_share_max: float
    free_share_max: float
    """Share of lines with an amount of zero (gifts, write-offs)."""
    odd_share_max: float
    """Share of lines that may break a bound of quantity or amount before it counts as failed; 0 tolerates none."""
    email_share_min: float
    """Least share of customers with an e-mail address."""
    category_share_min: float
    """Least share of products with a category."""
    cost_share_min: float
    """Least share of order lines whose product has a cost."""
    days_without_sales_max: int | None
    """Days from the newest sale to the business day; None where the dates of the orders are history."""
    amount_max: int = 1_000_000
    """Most that one line may cost; a sale costs at least 0, a return at most 0."""
    unit_price_max: int = 100_000
    wholesale_from: int = 100
    orders_max: int = 50_000_000
    """Row counts: at least one row, at most these. Above them a table was loaded twice or a key exploded."""
    customers_max: int = 20_000_000
    products_max: int = 5_000_000
    changes_max: int = 20_000_000
    """Most change events of one table in one night."""


SHOP: Final = Limits(
    name="shop",
    sale_quantity_max=100,
    return_quantity_max=100,
    wholesale_share_max=None,
    anonymous_share_max=0.10,
    return_share_max=0.10,
    free_share_max=0.05,
    odd_share_max=0.0,
    email_share_min=0.90,
    category_share_min=0.95,
    cost_share_min=0.95,
    days_without_sales_max=3,
)
"""An ordinary online shop: 1 to 100 pieces, amounts 0 to 1,000,000."""

ONLINE_RETAIL: Final = Limits(
    name="online_retail",
    # The first week holds lines of 2,880 and -9,360 pieces; the whole year has one of 80,995, taken back at once.
    sale_quantity_max=100_000,
    return_quantity_max=100_000,
    # What keeps that wide bound honest: 102 of the 14,375 sale lines (0.7 %) are above 100 pieces.
    wholesale_share_max=0.02,
    # 4,265 of 14,594 lines (29.2 %) have no customer.
    anonymous_share_max=0.35,
    # 219 lines (1.5 %) have a negative quantity: 174 credit notes and 45 write-offs at a price of zero.
    return_share_max=0.05,
    # 124 lines (0.8 %) cost nothing.
    free_share_max=0.02,
    # The year has two bad-debt corrections that were entered as sales with a negative amount.
    odd_share_max=0.0001,
    # The file knows customers by number and country only.
    email_share_min=0.0,
    category_share_min=0.95,
    cost_share_min=0.95,
    days_without_sales_max=None,
)
"""The UCI Online Retail invoices: a wholesaler's lines, its credit notes, and buyers at the till."""

_BY_NAME: Final = {limits.name: limits for limits in (SHOP, ONLINE_RETAIL)}


def limits_of(settings: Settings) -> Limits:
    """The set that `settings.quality_limits` names."""
    return _BY_NAME[settings.quality_limits]
