"""Bronze change topics: the form of a change must hold; what a row says is real in Postgres, so it only warns."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.tables import HEARTBEATS, ORDERS, CapturedTable
from quality import customers_suite, orders_suite, products_suite
from quality.business_day import BusinessDay
from quality.checks import Check, Suite, are_present, are_unique_together, has_rows, is_never, is_one_of, is_recent
from quality.limits import Limits

POSITION = ("_topic", "_partition", "_offset")
IMAGE_RULES = {"orders": orders_suite.image, "customers": customers_suite.image, "products": products_suite.image}


def view(captured: CapturedTable, limits: Limits, day: BusinessDay, changes: DataFrame) -> DataFrame:
    """One row per change of a row: key columns, origin, and the `after` image flattened to `after_<column>`; for
    orders also the columns of each kind of line.

    A truncate has no key and no image, and only the LSN says what it did: it is left out. So is `before`: in the change
    of a delete it holds invented values.
    """
    has_image = F.col("op") != "d"
    flat = changes.where(F.coalesce(F.col("op"), F.lit("?")) != "t").select(
        *(F.col(f"key.{name}").alias(name) for name in captured.keys),
        "op",
        "lsn",
        "source_incarnation",
        *POSITION,
        day.hours_to(F.col("source_at")).alias("hours_into_day"),
        F.coalesce(has_image & F.col("after").isNull(), F.lit(False)).alias("without_image"),
        *(F.col(f"after.{name}").alias(f"after_{name}") for name in captured.columns.fieldNames()),
    )
    return orders_suite.image_view(flat, limits) if captured.name == ORDERS.name else flat


def checks(captured: CapturedTable, limits: Limits) -> Iterable[Check]:
    """The form of any change, and the warnings that the table's own suite has for its images."""
    yield from are_present(*captured.keys, "op", "lsn", "source_incarnation")
    yield are_unique_together("position_is_unique", POSITION)
    yield is_one_of("op", ("c", "u", "d", "r"))
    yield is_never("without_image", "completeness", "an image of the row in each change but a delete")
    # None at all is in order: on a quiet day nothing changes, and that changes still arrive is shown by the heartbeat.
    yield has_rows(0, limits.changes_max).only_warns()
    if captured.name in IMAGE_RULES:
        yield from (check.only_warns() for check in IMAGE_RULES[captured.name](limits))


def heartbeat_checks(captured: CapturedTable, limits: Limits, day: BusinessDay) -> Iterable[Check]:
    """The heartbeat proves that changes still arrive on a day when nobody bought anything."""
    yield from checks(captured, limits)
    yield is_recent("hours_into_day", 0, f"a heartbeat {day.since}").only_warns()


def suite(captured: CapturedTable, limits: Limits, day: BusinessDay) -> Suite:
    """The Bronze suite of one captured table."""
    is_heartbeat = captured.name == HEARTBEATS.name
    of_table = heartbeat_checks(captured, limits, day) if is_heartbeat else checks(captured, limits)
    return Suite(captured.changes, tuple(of_table), partial(view, captured, limits, day))
