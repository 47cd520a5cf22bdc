"""Row rules of the streams, as data: what must hold for a row, and what becomes of one for which it does not.

All failing rules of a row are recorded. On event streams one failing rule is enough to reject the row; on change topics
rules only warn: the row is real in Postgres, and Silver must equal it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F

from quality.limits import EVENT_TYPES, MOVEMENTS, STATUSES

VERSION = "5"
"""Stored with each quarantined row; raise it when a rule changes its meaning."""

OLDEST_EVENT = "TIMESTAMP'2000-01-01 00:00:00Z'"
DAY_MICROS = 86_400_000_000
OF_A_PRODUCT = ("product_view", "add_to_cart")
"""Events that are about one product."""
KEY_BYTES = 1_000
"""More than any key of a shop; a message that carries a key of megabytes is larger than the broker takes."""


class Action(StrEnum):
    """What becomes of a row for which a rule does not hold."""

    QUARANTINE = "quarantine"
    """Not in Bronze; kept in the quarantine with the names of all failing rules."""
    DROP = "drop"
    """Neither in Bronze nor in the quarantine; counted in the ledger under the rule's name (`filtered`)."""
    WARN = "warn"
    """In Bronze, with the rule's name in the row's `_warnings`."""
    STOP = "stop"
    """Nothing of the batch is committed and the stream stops with an error that names the rule."""


class WhenNull(StrEnum):
    """What it means that a predicate is neither true nor false, because it asks for a value that is not there."""

    FAILS = "fails"
    HOLDS = "holds"


@dataclass(frozen=True)
class Rule:
    """A name, the SQL predicate that is true for a row in order, what null means, and the action where it fails.

    A predicate asks for declared columns and `_kafka_at` (when the record arrived), never for the clock, so that a
    replay gives the same answer.
    """

    name: str
    must_hold: str
    when_null: WhenNull
    action: Action = Action.QUARANTINE

    def fails(self) -> Column:
        """True for a row for which the rule does not hold; never null."""
        return F.coalesce(~F.expr(self.must_hold), F.lit(self.when_null is WhenNull.FAILS))

    def reads(self, field: str) -> bool:
        """Whether the predicate asks for a column of this name."""
        without_texts = re.sub(r"'[^']*'", "", self.must_hold)
        return re.search(rf"\b{re.escape(field)}\b", without_texts) is not None


def _one_of(values: Sequence[str]) -> str:
    return f"IN ({', '.join(repr(one) for one in values)})"


def _is_there(text: str) -> str:
    """Holds more than spaces."""
    # Nearly all begin behind the space, of which '!' is the next character, and trim copies each text.
    return f"({text} >= '!' OR trim({text}) <> '')"


def _credible(event_time: str) -> str:
    """Not older than any shop of ours, and not more than a day ahead of its arrival."""
    # In numbers: a moment plus an interval is reckoned by the calendar, which cost as much as decoding a field.
    return f"{event_time} >= {OLDEST_EVENT} AND unix_micros({event_time}) <= unix_micros(_kafka_at) + {DAY_MICROS}"


INVENTORY_RULES = (
    Rule("missing_event_id", _is_there("event_id"), WhenNull.FAILS),
    Rule("missing_sku", _is_there("sku"), WhenNull.FAILS),
    Rule("missing_warehouse_id", _is_there("warehouse_id"), WhenNull.FAILS),
    Rule(
        "oversize_key",
        f"octet_length(sku) <= {KEY_BYTES} AND octet_length(warehouse_id) <= {KEY_BYTES}",
        # A key that is not there has a reason of its own.
        WhenNull.HOLDS,
    ),
    Rule("unknown_movement", f"movement {_one_of(MOVEMENTS)}", WhenNull.FAILS),
    # Sold before it was counted: the level is real, and Silver flags it. One that is not there has a reason of its own.
    Rule("negative_on_hand", "on_hand >= 0", WhenNull.HOLDS, Action.WARN),
    Rule("event_time_out_of_range", _credible("occurred_at"), WhenNull.FAILS),
)

CLICK_RULES = (
    Rule("missing_event_id", _is_there("event_id"), WhenNull.FAILS),
    # A visit can be inferred without it; a renamed field would lack it in every row, and must be seen.
    Rule("missing_session_id", _is_there("session_id"), WhenNull.FAILS, Action.WARN),
    # For the same reason: without these, the funnel has no pages and no products.
    Rule("missing_page_url", _is_there("page_url"), WhenNull.FAILS, Action.WARN),
    Rule(
        "missing_product_id",
        f"NOT event_type {_one_of(OF_A_PRODUCT)} OR " + _is_there("properties['product_id']"),
        WhenNull.FAILS,
        Action.WARN,
    ),
    Rule("bad_timestamp", "timestamp IS NOT NULL", WhenNull.FAILS),
    Rule("unknown_event_type", f"event_type {_one_of(EVENT_TYPES)}", WhenNull.FAILS),
    # A timestamp that could not be read has a reason of its own.
    Rule("event_time_out_of_range", _credible("timestamp"), WhenNull.HOLDS),
)

CHANGE_RULES = {
    "orders": (
        Rule("unknown_status", f"after.status {_one_of(STATUSES)}", WhenNull.HOLDS, Action.WARN),
        Rule("quantity_of_zero", "after.quantity <> 0", WhenNull.HOLDS, Action.WARN),
    ),
    "customers": (Rule("odd_email", "after.email LIKE '_%@_%'", WhenNull.HOLDS, Action.WARN),),
    "products": (
        Rule("negative_unit_price", "after.unit_price >= 0", WhenNull.HOLDS, Action.WARN),
        Rule("negative_unit_cost", "after.unit_cost >= 0", WhenNull.HOLDS, Action.WARN),
    ),
}
"""By captured table. A delete has no `after`: nothing is asked of it."""


def hold(rules: Sequence[Rule]) -> Column:
    """Whether no rule rejects a row or drops it; never null.

    Where a STOP rule fails, evaluating the column raises an error that names the rule, and with it the batch.
    """
    failing = [rule.fails() for rule in rules if rule.action in (Action.QUARANTINE, Action.DROP)]
    no_rule_fails = ~reduce(Column.__or__, failing, F.lit(False))
    for rule in _with_action(rules, Action.STOP):
        sentence = (
            f"The row rule {rule.name} stops the stream: a row breaks `{rule.must_hold}`. Nothing of its batch was "
            "committed. Correct the source, or change the rule's action in quality/rules.py."
        )
        no_rule_fails = F.when(rule.fails(), F.raise_error(sentence).cast("boolean")).otherwise(no_rule_fails)
    return no_rule_fails


def broken_rules(rules: Sequence[Rule]) -> Column:
    """Names of the rules that reject a row (QUARANTINE), as an array; null for a row that none rejects."""
    return _names(_with_action(rules, Action.QUARANTINE))


def dropped_by(rules: Sequence[Rule]) -> Column:
    """Name of the first DROP rule that fails, as a string; null for a row that none drops."""
    return F.coalesce(
        F.lit(None).cast("string"),
        *[F.when(rule.fails(), F.lit(rule.name)) for rule in _with_action(rules, Action.DROP)],
    )


def warnings(rules: Sequence[Rule]) -> Column:
    """Names of all WARN rules that fail, as an array; null for a row that none warns of."""
    return _names(_with_action(rules, Action.WARN))


def names_of_warnings(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Names of the WARN rules: what `warnings` can hold."""
    return tuple(rule.name for rule in _with_action(rules, Action.WARN))


def _with_action(rules: Sequence[Rule], action: Action) -> list[Rule]:
    return [rule for rule in rules if rule.action is action]


def _names(rules: Sequence[Rule]) -> Column:
    if not rules:
        return F.lit(None).cast("array<string>")
    return names_where([(rule.fails(), rule.name) for rule in rules])


def names_where(conditions: Sequence[tuple[Column, str]]) -> Column:
    """The different names whose conditions are true, in this order, as an array; null where there is none."""
    any_true = reduce(Column.__or__, [condition for condition, _ in conditions])
    names = F.array(*[F.when(condition, F.lit(name)) for condition, name in conditions])
    # Nearly all rows are good: the array is built only for the others. Not by `array_compact`: that is a function of
    # higher order, for which Spark leaves its compiled stages and copies every row.
    return F.when(any_true, F.array_except(names, F.array(F.lit(None).cast("string"))))
