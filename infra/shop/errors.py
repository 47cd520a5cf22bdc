"""What can stop the shop."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from lakehouse.errors import LakehouseError


class AccountBelongsElsewhere(LakehouseError):
    """The account in this home was kept for another Postgres or Kafka: its counts would be wrong for these."""

    def __init__(self, folder: Path, part: str, found: str, expected: str) -> None:
        super().__init__(
            f"The shop's account in {folder} was kept for {part} {expected}, but {found} answers now. "
            f"Run `lakehouse reset` to start over, or move {folder} away."
        )


class AccountDamaged(LakehouseError):
    """A line of the journal, not the last one, is not what the shop writes."""

    def __init__(self, path: Path, line: int) -> None:
        super().__init__(
            f"Line {line} of {path} is not a line that the shop wrote (one JSON object is expected). "
            "Nothing can be compared with this account: run `lakehouse reset` to start over."
        )


class AccountUnsettled(LakehouseError):
    """It can't be found out whether something that was sent has arrived."""

    def __init__(self, entry: int, why: str) -> None:
        super().__init__(
            f"Entry {entry} of the shop's account can't be settled: {why}. Run `lakehouse reset` to start over."
        )


class DeliveryFailed(LakehouseError):
    """The broker did not acknowledge all records of a batch; the account counts none of it until it is settled."""

    def __init__(self, topic: str, failed: int, sent: int, first: str) -> None:
        super().__init__(
            f"{failed} of {sent} records for the topic {topic} were not acknowledged (first reason: {first}). "
            "Look at `lakehouse status`, then run the shop again: it first finds out which of them arrived."
        )


class RowsNotFound(LakehouseError):
    """A statement changed fewer or more rows than the shop knows; the transaction was rolled back."""

    def __init__(self, table: str, operation: str, found: int, expected: int) -> None:
        super().__init__(
            f"{operation} of {table} changed {found} rows, expected were {expected}; the transaction was rolled back. "
            "Something else writes the shop's tables: stop it, and run `lakehouse reset`."
        )


class TablesNotReady(LakehouseError):
    """The source's tables are missing, or hold rows that no account knows."""


class DateAhead(LakehouseError):
    """The shop can't trade on a day that has not begun."""

    def __init__(self, found: date, today: date, zone: str) -> None:
        super().__init__(
            f"The business date {found} lies ahead: in {zone} it is {today}. Give that date or an earlier one."
        )


class InvoiceFileWrong(LakehouseError):
    """The invoice file as a whole can't be used; nothing of it was loaded."""


class InvoiceColumnsMissing(InvoiceFileWrong):
    """The header lacks columns of the format; lists all of them."""

    def __init__(self, path: Path, missing: Sequence[str], expected: Sequence[str]) -> None:
        super().__init__(
            f"{path} lacks the column(s) {', '.join(missing)}: the first line must name {','.join(expected)}. "
            "Nothing was loaded."
        )


class InvoiceLineMalformed(InvoiceFileWrong):
    """One line can't be read; nothing of the file was loaded."""

    def __init__(self, path: Path, line: int, column: str, found: str, expected: str) -> None:
        super().__init__(
            f"Line {line} of {path}: {column} is {found!r}, expected {expected}. Correct the line; nothing was loaded."
        )
