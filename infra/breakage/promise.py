"""What must be true whatever was broken: acknowledged records = Bronze + quarantine, none lost, none twice.

Read by an independent engine (DuckDB on the Delta logs), compared with the shop's account of what the broker and the
object store acknowledged since the first day of this home.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import click

from infra.breakage.ground import Ground
from infra.demo.checks import Check
from infra.shop.account import read_account
from lakehouse import direct_read
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, INVENTORY_EVENTS, quarantine_of


class PromiseBroken(LakehouseError):
    """A comparison after the damage does not hold."""

    def __init__(self, failed: int) -> None:
        super().__init__(f"{failed} of the comparisons above do not hold: the promise was broken. Nothing was removed.")


def require(ground: Ground, *groups: Iterable[Check]) -> None:
    """Print each comparison. Raises `PromiseBroken` unless all hold."""
    failed = 0
    ground.say("What is true now:")
    for check in (one for group in groups for one in group):
        mark = click.style("equal", fg="green") if check.holds else click.style("NOT EQUAL", fg="red", bold=True)
        ground.say(f"  {mark}  {check.name}: {check.summary}")
        failed += not check.holds
    if failed:
        raise PromiseBroken(failed)


def inventory(settings: Settings) -> Iterator[Check]:
    """Stock events: ids one by one, rejected rows by reason, no offset twice, every batch balances."""
    account, table = read_account(settings).inventory, INVENTORY_EVENTS
    ids = bronze_ids(settings)
    yield Check("acknowledged event ids = ids in Bronze, one by one", Counter(account.event_ids), ids)
    offsets = Counter(_rows(settings, table.name, "_topic, _partition, _offset"))
    yield Check("offsets that are in Bronze twice", [], [place for place, count in offsets.items() if count > 1])
    yield from _quarantine(settings, table.table, account.bad)
    yield from _ledger(settings, table.table)


def clicks(settings: Settings) -> Iterator[Check]:
    """Click objects: each one once, its lines counted, rejected lines by reason, every batch balances."""
    account, table = read_account(settings).clicks, CLICK_EVENTS
    yield Check("acknowledged objects = objects in Bronze", account.objects, objects(settings))
    lines = Counter(_rows(settings, table.name, "_source_file, _source_line"))
    yield Check("acknowledged good lines = lines in Bronze", account.good, lines.total())
    yield Check("lines that are in Bronze twice", [], [place for place, count in lines.items() if count > 1])
    yield from _quarantine(settings, table.table, account.bad)
    yield from _ledger(settings, table.table)


def bronze_ids(settings: Settings) -> Counter[str]:
    """Event ids of the stock events in Bronze."""
    return Counter(_column(settings, INVENTORY_EVENTS.name, "event_id"))


def quarantined(settings: Settings, stream: str) -> Counter[str]:
    """Rejected rows of a stream by their reasons."""
    return Counter("+".join(reasons) for reasons in _column(settings, quarantine_of(stream).name, "reasons"))


def objects(settings: Settings) -> int:
    """How many click objects Bronze holds lines of."""
    return len(set(sources(settings, CLICK_EVENTS.name)))


def sources(settings: Settings, table: str) -> list[str]:
    """The object of each click line in Bronze."""
    return _column(settings, table, "_source_file")


def _quarantine(settings: Settings, stream: str, acknowledged: Counter[str]) -> Iterator[Check]:
    yield Check("acknowledged bad records = quarantine, by reason", acknowledged, quarantined(settings, stream))
    ids = Counter(_column(settings, quarantine_of(stream).name, "quarantine_id"))
    yield Check("rows that are in the quarantine twice", [], [one for one, count in ids.items() if count > 1])


def _ledger(settings: Settings, stream: str) -> Iterator[Check]:
    balanced = [entry.balances for entry in direct_read.ledger_entries(settings, stream)]
    yield Check("ledger entries that balance", len(balanced), sum(balanced))


def _column(settings: Settings, table: str, column: str) -> list[Any]:
    return [row[0] for row in _rows(settings, table, column)]


def _rows(settings: Settings, table: str, columns: str) -> list[tuple[Any, ...]]:
    if direct_read.open_table(settings, table) is None:
        return []
    layer, _, name = table.partition(".")
    connection = direct_read.connect(settings, table)
    return direct_read.rows(connection, f'select {columns} from "{layer}"."{name}"')  # noqa: S608 - the names are ours
