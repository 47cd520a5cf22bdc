"""What `lakehouse ledger verify` finds: a number that was expected, and the same counted by other means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One comparison: what was expected, what was found."""

    name: str
    expected: int
    found: int
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Whether both are equal."""
        return self.expected == self.found

    def __str__(self) -> str:
        sign = "=" if self.agrees else "DIFFERS FROM"
        return f"{self.name}: {self.expected} {sign} {self.found}{f' ({self.note})' if self.note else ''}"
