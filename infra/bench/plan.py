"""What a run of the bench measures, and why it would not count."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lakehouse.errors import LakehouseError

VISIBLE_SECONDS = 120.0


class NotVisible(LakehouseError):
    """Events of the delay's measurement did not all come out of the table."""

    def __init__(self, table: Path, rows: int, found: int) -> None:
        super().__init__(
            f"{table} shows {found} of {rows} events after {VISIBLE_SECONDS:.0f} s: no delay counts. The machine may "
            "be too busy; a lower --rate, or --only with the other parts, leaves it out."
        )


class CountsDiffer(LakehouseError):
    """The two sides did not write the same number of rows: their figures can't be compared."""

    def __init__(self, name: str, ours: int, theirs: int, expected: int) -> None:
        super().__init__(f"{name}: ours wrote {ours} rows, plain {theirs}, expected {expected}: no figure counts.")


@dataclass(frozen=True)
class Plan:
    """What is measured, and how much."""

    parts: tuple[str, ...]
    """Of `infra.bench.commands.PARTS`."""
    messages: int
    megabytes: int
    objects: tuple[int, ...]
    rates: tuple[int, ...]
    seconds: int
    """How long events flow at each rate."""
    seen: tuple[int, ...]
    """Objects in the bucket before a look for new ones."""
    rows: int
    """Of the table that a night's changes are merged into."""
    rounds: int
