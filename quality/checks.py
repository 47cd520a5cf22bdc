"""A check is one Great Expectations expectation with a name, a dimension and a severity; a suite is those of one table.

The functions below read as the sentence that they check. They are data: nothing here imports Great Expectations, so
that the score and the command line know every check that should have run without its seconds of start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pyspark.sql import DataFrame

from lakehouse.tables import TableSpec

Dimension = Literal["completeness", "uniqueness", "validity", "consistency", "timeliness"]


@dataclass(frozen=True)
class Check:
    """One expectation: `kind` is its class in `great_expectations.expectations`, `arguments` what it is called with."""

    name: str
    kind: str
    column: str
    arguments: dict[str, Any]
    dimension: Dimension
    expected: str
    is_blocking: bool = True
    lacks_its_measure: bool = False
    """The value that it compares with could not be read, so it can't run."""

    def only_warns(self) -> Check:
        """The same check, whose failure is recorded and costs points but stops nothing."""
        return replace(self, is_blocking=False)


@dataclass(frozen=True)
class Suite:
    """The checks of one table, on the frame that `view` makes of its rows."""

    table: TableSpec
    checks: tuple[Check, ...]
    view: Callable[[DataFrame], DataFrame] = field(default=lambda rows: rows)


def is_present(column: str, share: float = 1.0) -> Check:
    """The column is not null, in at least `share` (0 to 1) of the rows."""
    expected = "not null" if share == 1.0 else f"not null in at least {share:.2%} of the rows"
    kind = "ExpectColumnValuesToNotBeNull"
    return Check(f"{column}_is_present", kind, column, {"column": column, "mostly": share}, "completeness", expected)


def are_present(*columns: str) -> tuple[Check, ...]:
    """`is_present` for each of the columns."""
    return tuple(is_present(column) for column in columns)


def is_unique(column: str) -> Check:
    """No value of the column occurs twice (nulls aside)."""
    kind = "ExpectColumnValuesToBeUnique"
    return Check(f"{column}_is_unique", kind, column, {"column": column}, "uniqueness", "each value once")


def are_unique_together(name: str, columns: Sequence[str]) -> Check:
    """No combination of the columns occurs twice."""
    kind = "ExpectCompoundColumnsToBeUnique"
    arguments = {"column_list": list(columns), "ignore_row_if": "never"}
    return Check(name, kind, ",".join(columns), arguments, "uniqueness", "each combination once")


def is_between(
    column: str, least: float | None, most: float | None, dimension: Dimension = "validity", odd_share: float = 0.0
) -> Check:
    """Each value that is not null is in the bounds (both included), but for a share of at most `odd_share`."""
    arguments = {"column": column, "min_value": least, "max_value": most, "mostly": 1.0 - odd_share}
    expected = _bounds(least, most) + (f" in at least {1.0 - odd_share:.2%} of the rows" if odd_share else "")
    return Check(f"{column}_is_in_bounds", "ExpectColumnValuesToBeBetween", column, arguments, dimension, expected)


def is_one_of(column: str, values: Sequence[Any], dimension: Dimension = "validity") -> Check:
    """Each value that is not null is one of `values`."""
    arguments = {"column": column, "value_set": list(values)}
    expected = "one of " + ", ".join(map(str, values))
    return Check(f"{column}_is_known", "ExpectColumnValuesToBeInSet", column, arguments, dimension, expected)


def is_never(column: str, dimension: Dimension, expected: str) -> Check:
    """The flag `column` (boolean) is false in each row; `expected` says what that means."""
    return Check(
        f"never_{column}",
        "ExpectColumnValuesToBeInSet",
        column,
        {"column": column, "value_set": [False]},
        dimension,
        expected,
    )


def looks_like(column: str, pattern: str, meaning: str, odd_share: float = 0.0) -> Check:
    """Each value that is not null matches the Java regular expression, but for a share of at most `odd_share`."""
    arguments = {"column": column, "regex": pattern, "mostly": 1.0 - odd_share}
    return Check(f"{column}_is_well_formed", "ExpectColumnValuesToMatchRegex", column, arguments, "validity", meaning)


def share_is_at_most(column: str, most: float) -> Check:
    """The mean of the 0-or-1 `column` is at most `most`: the kind of row exists, but not more of it than usual."""
    arguments = {"column": column, "max_value": most}
    expected = f"a share of at most {most:.1%}"
    return Check(f"{column}_share_is_usual", "ExpectColumnMeanToBeBetween", column, arguments, "validity", expected)


def is_recent(column: str, least: float, expected: str) -> Check:
    """The largest value of `column`, a distance in time that grows with newer rows, is at least `least`."""
    arguments = {"column": column, "min_value": least}
    return Check(f"{column}_are_recent", "ExpectColumnMaxToBeBetween", column, arguments, "timeliness", expected)


def sums_to(column: str, total: float | None, expected: str, within: float) -> Check:
    """The sum of the column is `total`, plus or minus `within`. A `total` of None can't be compared: it did not run."""
    bounds = {} if total is None else {"min_value": total - within, "max_value": total + within}
    check = Check(
        f"{column}_sum_agrees",
        "ExpectColumnSumToBeBetween",
        column,
        {"column": column} | bounds,
        "consistency",
        expected,
    )
    return replace(check, lacks_its_measure=total is None)


def has_rows(least: int, most: int) -> Check:
    """The table has `least` to `most` rows."""
    arguments = {"min_value": least, "max_value": most}
    return Check(
        "row_count_is_in_bounds", "ExpectTableRowCountToBeBetween", "", arguments, "completeness", _bounds(least, most)
    )


def has_as_many_rows(value: int | None, expected: str) -> Check:
    """The table has exactly `value` rows. None can't be compared: it did not run."""
    check = Check("row_count_agrees", "ExpectTableRowCountToEqual", "", {"value": value}, "consistency", expected)
    return replace(check, lacks_its_measure=value is None)


def _bounds(least: float | None, most: float | None) -> str:
    if most is None:
        return f"at least {least:,}"
    if least is None:
        return f"at most {most:,}"
    return f"{least:,} to {most:,}"
