"""The Gold candidate: order lines, customers, products and daily sales, and whether they still add up to Silver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lakehouse import delta_io
from lakehouse.errors import TableMissing
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import ORDERS, PRODUCTS, TableSpec
from quality.business_day import BusinessDay
from quality.checks import (
    Suite,
    are_present,
    are_unique_together,
    has_as_many_rows,
    has_rows,
    is_between,
    is_never,
    is_one_of,
    is_present,
    is_recent,
    is_unique,
    share_is_at_most,
    sums_to,
)
from quality.limits import LINE_TYPES, STATUSES, Limits
from quality.orders_suite import kind_checks, with_kinds

log = get_logger(__name__)

ANONYMOUS = -1
"""`customer_id` of Gold where the source has none (dbt/models/intermediate/int_order_items.sql)."""
GRAIN = ("order_date", "category", "region", "segment")
UNKNOWN_SHARE_MAX = 0.01
HALF_A_CENT = 0.005


@dataclass(frozen=True)
class Totals:
    """What Gold must add up to, by Silver alone: lines, and revenue in the shop's currency. None: unknown."""

    order_lines: int | None
    revenue: float | None


UNKNOWN = Totals(None, None)


def read_totals(spark: SparkSession, settings: Settings) -> Totals:
    """The totals of Silver, by the rules of the README and not by dbt's models; `UNKNOWN` where Silver is missing."""
    try:
        orders = delta_io.read(spark, ORDERS.silver, settings)
        live = delta_io.read(spark, PRODUCTS.silver, settings).select("product_id", "category")
        deleted = delta_io.read(spark, PRODUCTS.deleted, settings).select("product_id", "category")
    except TableMissing as error:
        log.warning("totals_unknown", reason=str(error))
        return UNKNOWN
    products = live.unionByName(deleted.join(live, on="product_id", how="left_anti"))
    return totals_of(orders, products)


def totals_of(orders: DataFrame, products: DataFrame) -> Totals:
    """Lines, and revenue: sales and returns that are not cancelled, without fees. One row per product_id."""
    is_fee = F.coalesce(F.col("category") == "Fees", F.lit(False))
    is_cancelled = F.coalesce(F.col("status") == "cancelled", F.lit(False))
    revenue = F.sum(F.when(~is_fee & ~is_cancelled, F.col("amount")))
    joined = orders.join(F.broadcast(products), on="product_id", how="left")
    row = joined.agg(F.count("*").alias("order_lines"), revenue.alias("revenue")).first()
    assert row is not None  # an aggregate without groups has one row
    return Totals(row["order_lines"], float(row["revenue"] or 0))


def order_lines(limits: Limits, totals: Totals) -> Suite:
    """Suite of candidate.fct_orders. Fees are told apart here, so bounds and shares are those of sales and returns."""

    def view(lines: DataFrame) -> DataFrame:
        is_fee = F.col("line_type") == "fee"
        quantity, amount = F.when(~is_fee, F.col("quantity")), F.when(~is_fee, F.col("amount"))
        is_above = (F.col("line_type") == "sale") & (F.col("profit") > F.col("amount"))
        kinds = with_kinds(lines, limits, quantity, amount, F.col("customer_id") == ANONYMOUS)
        return kinds.withColumn("profit_above_amount", F.coalesce(is_above, F.lit(False)))

    checks = (
        *are_present(
            "order_id", "customer_id", "product_id", "order_date", "quantity", "amount", "status", "line_type"
        ),
        is_present("cost", limits.cost_share_min).only_warns(),
        is_unique("order_id"),
        is_one_of("status", STATUSES),
        is_one_of("line_type", LINE_TYPES),
        *kind_checks(replace(limits, odd_share_max=0.0)),
        is_never("profit_above_amount", "consistency", "no sale that gains more than it brings in"),
        has_rows(1, limits.orders_max),
        has_as_many_rows(totals.order_lines, "as many lines as silver.orders has rows"),
    )
    return Suite(candidate("fct_orders"), checks, view)


def customers(limits: Limits) -> Suite:
    """Suite of candidate.dim_customers: everyone that an order names, and one row for all anonymous buyers."""

    def view(rows: DataFrame) -> DataFrame:
        return rows.withColumns({flag: F.col(flag).cast("int") for flag in ("is_anonymous", "is_unknown")})

    checks = (
        *are_present("customer_id", "customer_name", "region", "is_deleted"),
        is_unique("customer_id"),
        sums_to("is_anonymous", 1, "one row for anonymous buyers", within=0),
        share_is_at_most("is_unknown", UNKNOWN_SHARE_MAX).only_warns(),
        has_rows(1, limits.customers_max),
    )
    return Suite(candidate("dim_customers"), checks, view)


def products(limits: Limits) -> Suite:
    """Suite of candidate.dim_products."""

    def view(rows: DataFrame) -> DataFrame:
        return rows.withColumn("is_unknown", F.col("is_unknown").cast("int"))

    checks = (
        *are_present("product_id", "category", "is_fee"),
        is_unique("product_id"),
        share_is_at_most("is_unknown", UNKNOWN_SHARE_MAX).only_warns(),
        has_rows(1, limits.products_max),
    )
    return Suite(candidate("dim_products"), checks, view)


def daily_sales(limits: Limits, day: BusinessDay, totals: Totals) -> Suite:
    """Suite of candidate.agg_daily_sales: one row per day, category, region and segment, which add up to Silver."""

    def view(sales: DataFrame) -> DataFrame:
        is_above = F.col("customers") > F.col("orders")
        more = {
            "more_customers_than_orders": F.coalesce(is_above, F.lit(False)),
            "days_to_day": F.datediff(F.col("order_date"), F.lit(day.date)),
        }
        return sales.withColumns(more)

    checks = (
        *are_present(*GRAIN, "orders", "revenue", "quantity"),
        are_unique_together("grain_is_unique", GRAIN),
        is_between("orders", 0, limits.orders_max),
        is_between("average_order_value", 0, limits.amount_max),
        is_never("more_customers_than_orders", "consistency", "no more customers than sale lines"),
        sums_to("revenue", totals.revenue, "the revenue of silver.orders to the cent", within=HALF_A_CENT),
        has_rows(1, limits.orders_max),
    )
    days = limits.days_without_sales_max
    if days is not None:
        checks += (is_recent("days_to_day", -days, f"sales since {day.date - timedelta(days=days)}").only_warns(),)
    return Suite(candidate("agg_daily_sales"), checks, view)


def candidate(name: str) -> TableSpec:
    """The Gold table `name` as it was built, before readers are moved to it. Its columns are declared by dbt."""
    return TableSpec(name=f"candidate.{name}", schema=StructType(), keys=(), comment="Built by dbt.")
