"""Stock: movements as they arrived, and the newest level per product and warehouse."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.tables import INVENTORY_EVENTS, INVENTORY_LEVELS
from quality.checks import Suite, are_present, are_unique_together, is_between, is_one_of, share_is_at_most
from quality.limits import MOVEMENTS

LEVEL_MAX = 10_000_000
"""Pieces of one product in one warehouse."""
NEGATIVE_SHARE_MAX = 0.05


def bronze() -> Suite:
    """Suite of bronze.inventory_events; the row rules of the stream have passed these rows before."""
    checks = (
        *are_present("event_id", "sku", "warehouse_id", "sequence", "occurred_at"),
        are_unique_together("position_is_unique", INVENTORY_EVENTS.keys),
        is_one_of("movement", MOVEMENTS),
        is_between("on_hand", -LEVEL_MAX, LEVEL_MAX),
    )
    return Suite(INVENTORY_EVENTS, checks)


def silver() -> Suite:
    """Suite of silver.inventory_levels. A level below zero is real (sold before it was counted), but rare; a sequence
    with holes, or one that seems to have begun again, is for an operator to look at.
    """

    def view(levels: DataFrame) -> DataFrame:
        flags = ("is_negative", "is_sequence_suspect")
        return levels.withColumns({flag: F.col(flag).cast("int") for flag in flags})

    checks = (
        *are_present("sku", "warehouse_id", "on_hand", "sequence"),
        are_unique_together("sku_and_warehouse_are_unique", INVENTORY_LEVELS.keys),
        is_between("on_hand", -LEVEL_MAX, LEVEL_MAX),
        share_is_at_most("is_negative", NEGATIVE_SHARE_MAX).only_warns(),
        is_between("missing_sequences", 0, 0, "completeness").only_warns(),
        share_is_at_most("is_sequence_suspect", 0).only_warns(),
    )
    return Suite(INVENTORY_LEVELS, checks, view)
