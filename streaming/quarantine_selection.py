"""Which rejected rows a request means: ids and conditions. A grammar of its own: nothing of it becomes SQL text."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from lakehouse.errors import LakehouseError

CONDITION = re.compile(r"([a-z_]+)\s*(!=|<=|>=|=|<|>)\s*(\S.*)")
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


COLUMNS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "reason": ("reasons_now", str),
    "rule_version": ("rule_version", str),
    "schema_id": ("schema_id", int),
    "topic": ("_topic", str),
    "partition": ("_partition", int),
    "offset": ("_offset", int),
    "origin": ("origin", str),
    "position": ("origin_position", int),
    "batch": ("_batch_id", int),
    "attempts": ("attempts", int),
    "arrived_at": ("arrived_at", _moment),
    "rejected_at": ("_ingested_at", _moment),
}
"""Name in a condition -> column of the standing, and how its value is read."""


class BadCondition(LakehouseError):
    """A condition is not of the grammar."""

    def __init__(self, text: str, expected: str) -> None:
        super().__init__(f"The condition {text!r} can't be read: expected {expected}.")


@dataclass(frozen=True)
class Condition:
    """One comparison of a column with a value; a row without a value never fulfils it."""

    name: str
    compare: str
    value: Any

    def column(self) -> Column:
        """True for a row that fulfils it."""
        found = F.col(COLUMNS[self.name][0])
        if self.name == "reason":
            is_one = F.array_contains(found, self.value)
            return is_one if self.compare == "=" else ~is_one
        matches: Column = COMPARE[self.compare](found, F.lit(self.value))
        return matches


def condition(text: str) -> Condition:
    """Read `column op value`, such as `offset>=100` or `arrived_at<2026-11-23`. Raises `BadCondition`."""
    found = CONDITION.fullmatch(text.strip())
    if not found or found[1] not in COLUMNS:
        raise BadCondition(text, f"COLUMN = != < <= > >= VALUE, the column one of {', '.join(COLUMNS)}")
    name, compare, value = found.groups()
    read = COLUMNS[name][1]
    if read is str and compare not in ("=", "!="):
        raise BadCondition(text, f"= or != for {name}")
    try:
        return Condition(name, compare, read(value))
    except ValueError:
        kind = "a whole number" if read is int else "a date or a time such as 2026-11-23T11:00:00Z"
        raise BadCondition(text, f"{kind} for {name}") from None


@dataclass(frozen=True)
class Selection:
    """Rows that are among `ids` (any, where it is empty) and fulfil each condition of `where`."""

    ids: tuple[str, ...] = ()
    where: tuple[str, ...] = ()

    def column(self) -> Column:
        """True for a row that is meant. Raises `BadCondition`."""
        chosen = F.col("quarantine_id").isin(*self.ids) if self.ids else F.lit(True)
        for text in self.where:
            chosen = chosen & F.coalesce(condition(text).column(), F.lit(False))
        return chosen

    def check(self) -> None:
        """Raise `BadCondition` where a condition is not of the grammar."""
        for text in self.where:
            condition(text)
