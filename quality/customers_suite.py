"""Customers: who they are. Names and addresses are counted, never kept: no check stores a value of them."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.tables import CUSTOMERS
from quality.checks import Check, Suite, are_present, has_rows, is_never, is_present, is_unique, looks_like
from quality.limits import Limits

EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"


def image(limits: Limits) -> Iterable[Check]:
    """What the `after` images of Bronze should look like."""
    yield looks_like("after_email", EMAIL, "name@host.domain")


def silver(limits: Limits) -> Suite:
    """Suite of silver.customers."""
    checks = (
        *are_present("customer_id", "customer_name", "created_at", "updated_at"),
        is_unique("customer_id"),
        is_present("email", limits.email_share_min).only_warns(),
        looks_like("email", EMAIL, "name@host.domain", odd_share=0.01).only_warns(),
        is_present("region", 0.95).only_warns(),
        is_never("changed_before_created", "consistency", "no change before the creation").only_warns(),
        has_rows(1, limits.customers_max),
    )
    return Suite(CUSTOMERS.silver, checks, view)


def view(customers: DataFrame) -> DataFrame:
    """The rows with the flag `changed_before_created`."""
    is_backwards = F.col("updated_at") < F.col("created_at")
    return customers.withColumn("changed_before_created", F.coalesce(is_backwards, F.lit(False)))
