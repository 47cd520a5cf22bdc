"""Counting the rows of a batch while they pass by on their way to the files: no pass of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from lakehouse.errors import StepFailed

TIMEOUT_SECONDS = 120.0
_WARNED = "warned_"
JUDGEMENT = ("_is_good", "_reasons", "_filtered_as")
"""What every `transform` says of a row: whether it goes to Bronze, or why it is rejected (an array), or by what name it
is filtered.
"""


@dataclass(frozen=True)
class Counts:
    """Rows of one batch by what becomes of them, and the first and last event time of the good ones (UTC)."""

    read: int
    good: int
    first: datetime | None
    last: datetime | None
    doubtful: int = 0
    """Rows for which what was asked besides is true."""
    warned: dict[str, int] = field(default_factory=dict)
    """Good rows that break a rule which only warns, by rule; rules that no row breaks are left out."""

    @property
    def aside(self) -> int:
        """Rows that do not go to Bronze: rejected, or filtered by name."""
        return self.read - self.good


def is_good() -> Column:
    """Whether a judged row goes to Bronze; never null."""
    return F.col("_is_good")


def has_no_reason() -> Column:
    """Whether a row is neither rejected nor filtered: it is good, where a `transform` finds the reasons first."""
    return F.col("_reasons").isNull() & F.col("_filtered_as").isNull()


def counted(
    judged: DataFrame, event_time: str, warning_rules: Sequence[str] = (), doubtful: Column | None = None
) -> tuple[DataFrame, Callable[[], Counts]]:
    """The frame that counts its rows while it is written, and the function that gives the counts afterwards, which
    raises `StepFailed` where Spark does not tell them.
    """
    observation = Observation()
    good_time = F.when(is_good(), F.col(event_time))
    seen = judged.observe(
        observation,
        F.count(F.lit(1)).alias("read"),
        F.count(F.when(is_good(), 1)).alias("good"),
        F.min(good_time).alias("first"),
        F.max(good_time).alias("last"),
        *[F.count_if(is_good() & F.array_contains("_warnings", rule)).alias(_WARNED + rule) for rule in warning_rules],
        # No stream but the one that asks pays for it.
        *([] if doubtful is None else [F.count_if(doubtful).alias("doubtful")]),
    )

    def counts() -> Counts:
        future = cast(Any, observation._jo).future()
        deadline = time.monotonic() + TIMEOUT_SECONDS
        # The counts come by a message of Spark's own; if it were dropped, waiting for it would never end.
        while not future.isCompleted():
            if time.monotonic() > deadline:
                raise StepFailed(f"Spark did not report the counts of a batch within {TIMEOUT_SECONDS:.0f} s.")
            time.sleep(0.002)
        found = observation.get
        warned = {rule: rows for rule in warning_rules if (rows := found.pop(_WARNED + rule))}
        # Spark gives a moment as one of this machine's zone, without saying so.
        first, last = (at.astimezone(UTC) if (at := found.pop(name)) else None for name in ("first", "last"))
        return Counts(**found, first=first, last=last, warned=warned)

    return seen, counts
