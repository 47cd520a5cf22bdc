"""What the shop does to its database: transactions of inserts, updates, deletes and changes of a key."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from infra.shop.catalogue import CUSTOMER_COLUMNS, PRODUCT_COLUMNS

ORDER_COLUMNS = ("order_id", "customer_id", "product_id", "order_date", "quantity", "amount", "status", "updated_at")
COLUMNS = {"customers": CUSTOMER_COLUMNS, "products": PRODUCT_COLUMNS, "orders": ORDER_COLUMNS}
KEYS = {"customers": "customer_id", "products": "product_id", "orders": "order_id"}


@dataclass(frozen=True, slots=True)
class Insert:
    """New rows, values in the order of `COLUMNS[table]`."""

    table: str
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Update:
    """The same new values for the rows with these keys."""

    table: str
    values: dict[str, Any]
    keys: list[Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """The rows with these keys go."""

    table: str
    keys: list[Any]


@dataclass(frozen=True, slots=True)
class ChangeKey:
    """One row gets another key."""

    table: str
    old: Any
    new: Any


Change = Insert | Update | Delete | ChangeKey


@dataclass(slots=True)
class Transaction:
    """Changes that come through together or not at all; `tag` names a step that is done only once."""

    changes: list[Change] = field(default_factory=list)
    tag: str | None = None

    def counts(self) -> dict[str, dict[str, int]]:
        """Changed rows by table and operation."""
        rows: dict[str, Counter[str]] = {}
        for change in self.changes:
            operation, number = _operation(change)
            if number:
                rows.setdefault(change.table, Counter())[operation] += number
        return {table: dict(counts) for table, counts in rows.items()}


def _operation(change: Change) -> tuple[str, int]:
    match change:
        case Insert():
            return "insert", len(change.rows)
        case Update():
            return "update", len(change.keys)
        case Delete():
            return "delete", len(change.keys)
        case ChangeKey():
            return "key_change", 1
