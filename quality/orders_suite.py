"""Orders: one line of one product. Sales and returns have bounds of their own, and so has the share of each kind."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.tables import ORDERS
from quality.business_day import BusinessDay
from quality.checks import (
    Check,
    Suite,
    are_present,
    has_rows,
    is_between,
    is_never,
    is_one_of,
    is_recent,
    is_unique,
    share_is_at_most,
)
from quality.limits import STATUSES, Limits


def kind_bounds(limits: Limits) -> Iterable[Check]:
    """Bounds of quantity and amount for sales and returns."""
    odd = limits.odd_share_max
    yield is_between("sale_quantity", 1, limits.sale_quantity_max, odd_share=odd)
    yield is_between("return_quantity", -limits.return_quantity_max, -1, odd_share=odd)
    yield is_between("sale_amount", 0, limits.amount_max, odd_share=odd)
    yield is_between("return_amount", -limits.amount_max, 0, "consistency", odd)


def kind_checks(limits: Limits) -> Iterable[Check]:
    """Bounds of quantity and amount for sales and returns, and the share that each kind may have."""
    yield from kind_bounds(limits)
    yield share_is_at_most("is_return", limits.return_share_max).only_warns()
    yield share_is_at_most("is_anonymous", limits.anonymous_share_max).only_warns()
    yield share_is_at_most("is_free", limits.free_share_max).only_warns()
    if limits.wholesale_share_max is not None:
        yield share_is_at_most("is_wholesale", limits.wholesale_share_max).only_warns()


def with_kinds(lines: DataFrame, limits: Limits, quantity: Column, amount: Column, is_anonymous: Column) -> DataFrame:
    """Add columns that make each kind of line checkable by itself: quantity and amount per kind, and 0-or-1 flags.

    A line with a null `quantity` is of no kind. `is_wholesale` is null for returns: it is a share of the sales.
    """
    is_return = quantity < 0
    return lines.withColumns(
        {
            "sale_quantity": F.when(~is_return, quantity),
            "return_quantity": F.when(is_return, quantity),
            "sale_amount": F.when(~is_return, amount),
            "return_amount": F.when(is_return, amount),
            "is_return": is_return.cast("int"),
            "is_anonymous": is_anonymous.cast("int"),
            "is_free": (amount == 0).cast("int"),
            "is_wholesale": F.when(~is_return, (quantity > limits.wholesale_from).cast("int")),
        }
    )


def image(limits: Limits) -> Iterable[Check]:
    """What the `after` images of Bronze should look like, on the frame of `image_view`.

    No shares: Bronze holds a row as often as it changed, so that its shares are not those of the orders.
    """
    yield is_one_of("after_status", STATUSES)
    yield from kind_bounds(limits)


def image_view(changes: DataFrame, limits: Limits) -> DataFrame:
    """Changes with their images as `after_<column>`, each with the columns of its kind of line."""
    is_anonymous = F.col("after_customer_id").isNull()
    return with_kinds(changes, limits, F.col("after_quantity"), F.col("after_amount"), is_anonymous)


def silver(limits: Limits, day: BusinessDay) -> Suite:
    """Suite of silver.orders."""

    def view(orders: DataFrame) -> DataFrame:
        # A day of slack: the source's clock is in UTC and its order dates are of the shop's zone.
        is_dated_ahead = F.col("order_date") > F.date_add(F.col("_source_at").cast("date"), 1)
        kinds = with_kinds(orders, limits, F.col("quantity"), F.col("amount"), F.col("customer_id").isNull())
        more = {
            "dated_ahead": F.coalesce(is_dated_ahead, F.lit(False)),
            "hours_into_day": day.hours_to(F.col("_source_at")),
        }
        return kinds.withColumns(more)

    checks = (
        *are_present("order_id", "product_id", "order_date", "quantity", "amount", "status"),
        is_unique("order_id"),
        is_one_of("status", STATUSES),
        *kind_checks(limits),
        is_never("dated_ahead", "consistency", "no order date after the change that wrote it").only_warns(),
        has_rows(1, limits.orders_max),
        is_recent("hours_into_day", 0, f"a change {day.since}").only_warns(),
    )
    return Suite(ORDERS.silver, checks, view)
