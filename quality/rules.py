"""Row rules of the event streams, as data. One failing rule is enough to quarantine a row; all failing rules are
recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F

VERSION = "1"
"""Stored with each quarantined row; raise it when a rule changes its meaning."""

MOVEMENTS = ("receipt", "sale", "return", "adjustment", "transfer", "count")
EVENT_TYPES = ("page_view", "product_view", "add_to_cart", "checkout", "purchase")
OLDEST_EVENT = "2000-01-01 00:00:00"


@dataclass(frozen=True)
class Rule:
    """A reason's name and the predicate that is true for a row that breaks it.

    A null result counts as broken: a rule that can't be decided is not a pass.
    """

    name: str
    is_broken: Callable[[], Column]


def is_blank(column: str) -> Column:
    """Null, empty or only spaces."""
    return F.coalesce(F.trim(F.col(column)) == "", F.lit(True))


def is_out_of_range(event_time: str, arrived_at: str) -> Column:
    """More than a day ahead of its arrival, or older than any shop of ours. Compared with arrival, not with the clock,
    so that a replay gives the same answer.
    """
    too_new = F.col(event_time) > F.col(arrived_at) + F.expr("INTERVAL 1 DAY")
    return too_new | (F.col(event_time) < F.lit(OLDEST_EVENT).cast("timestamp"))


INVENTORY_RULES = (
    Rule("missing_event_id", lambda: is_blank("event_id")),
    Rule("missing_sku", lambda: is_blank("sku")),
    Rule("missing_warehouse_id", lambda: is_blank("warehouse_id")),
    Rule("unknown_movement", lambda: ~F.col("movement").isin(*MOVEMENTS)),
    Rule("negative_on_hand", lambda: F.col("on_hand") < 0),
    Rule("event_time_out_of_range", lambda: is_out_of_range("occurred_at", "_kafka_at")),
)

CLICK_RULES = (
    Rule("missing_event_id", lambda: is_blank("event_id")),
    Rule("missing_session_id", lambda: is_blank("session_id")),
    Rule("bad_timestamp", lambda: F.col("timestamp").isNull()),
    Rule("unknown_event_type", lambda: ~F.col("event_type").isin(*EVENT_TYPES)),
    # A timestamp that could not be read has its own reason.
    Rule(
        "event_time_out_of_range",
        lambda: F.col("timestamp").isNotNull() & is_out_of_range("timestamp", "_kafka_at"),
    ),
)


def broken_rules(rules: Sequence[Rule]) -> Column:
    """Names of all rules that a row breaks, as an array; null for a row that breaks none."""
    broken = [F.coalesce(rule.is_broken(), F.lit(True)) for rule in rules]
    names = F.array_compact(F.array(*[F.when(one, F.lit(rule.name)) for one, rule in zip(broken, rules, strict=True)]))
    any_broken = broken[0]
    for one in broken[1:]:
        any_broken = any_broken | one
    # Nearly all rows are good: the array is built only for the others.
    return F.when(any_broken, names)
