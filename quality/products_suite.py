"""Products: what is sold, at which price and cost."""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.tables import PRODUCTS
from quality.checks import Check, Suite, are_present, has_rows, is_between, is_present, is_unique
from quality.limits import Limits


def image(limits: Limits) -> Iterable[Check]:
    """What the `after` images of Bronze should look like."""
    yield is_between("after_unit_price", 0, limits.unit_price_max)
    yield is_between("after_unit_cost", 0, limits.unit_price_max)


def silver(limits: Limits) -> Suite:
    """Suite of silver.products."""
    checks = (
        *are_present("product_id", "product_name", "unit_price"),
        is_unique("product_id"),
        is_between("unit_price", 0, limits.unit_price_max),
        is_between("unit_cost", 0, limits.unit_price_max),
        is_present("category", limits.category_share_min).only_warns(),
        has_rows(1, limits.products_max),
    )
    return Suite(PRODUCTS.silver, checks)
