"""Which objects Bronze holds: `ops.click_objects`, one row per object that a batch took.

Its rows are written before the Bronze commit of their batch, so that none can be missing for rows that are there. One
whose batch never got to Bronze counts for nothing: each row names the mark of its batch, and Bronze knows which marks
it holds. When the batch runs again, its rows are replaced: an object may be gone by then, or be back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import pyarrow.compute as pc

from lakehouse import direct_read
from lakehouse.delta_io import Mark
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, CLICK_OBJECTS
from streaming.expansion import TakenObject
from streaming.object_notifications import NotifiedObject, key_date

SETTLED = ("read", "unreadable_object")
"""Outcomes that a second look at the same version can't change."""
DAYS_IN_MEMORY = 60
Version = tuple[str, str, int]
"""Address, etag, size in bytes."""
Place = tuple[Any, ...]
"""Topic, partition and offset of a notification."""


def version_of(one: NotifiedObject) -> Version:
    """What tells this version of an object from any other."""
    return one.address, one.etag, one.size


def settled(settings: Settings, days: Iterable[date | None], but_not: Mark | None = None) -> dict[Version, str]:
    """Versions with a settled outcome among the keys of these days, except those that the batch `but_not` took.

    The cost is that of the days' partitions, whatever else the table holds.
    """
    day, wanted = pc.field("landed_on"), set(days)
    is_wanted = day.isin([one for one in wanted if one])
    if None in wanted:
        is_wanted |= day.is_null()
    return {
        (row["address"], row["etag"], row["size_bytes"]): row["outcome"]
        for row in _committed(settings, ["address", "etag", "size_bytes", "outcome"], is_wanted)
        if row["outcome"] in SETTLED
        and (but_not is None or (row["_application"], row["_batch_id"]) != (but_not.application, but_not.batch))
    }


def taken(settings: Settings) -> list[tuple[Mark, TakenObject]]:
    """Each object that a batch took which Bronze holds, with the mark of the batch."""
    columns = ["address", "etag", "size_bytes", "lines", "outcome"]
    return [
        (Mark(row["_application"], row["_batch_id"]), TakenObject(*(row[name] for name in columns)))
        for row in _committed(settings, columns)
    ]


def outcomes(settings: Settings, addresses: Iterable[str]) -> dict[tuple[str, str], dict[Place, str]]:
    """(Address, etag) -> what became of the object for each notification of it that a batch took."""
    place = ["_topic", "_partition", "_offset"]
    found: dict[tuple[str, str], dict[Place, str]] = {}
    for row in _committed(settings, ["address", "etag", "outcome", *place], pc.field("address").isin(list(addresses))):
        found.setdefault((row["address"], row["etag"]), {})[tuple(row[name] for name in place)] = row["outcome"]
    return found


def _committed(settings: Settings, columns: list[str], is_wanted: Any = None) -> list[dict[str, Any]]:
    """Rows of the table whose batch Bronze holds."""
    table = direct_read.open_table(settings, CLICK_OBJECTS.name)
    if table is None:
        return []
    arrow = table.to_pyarrow_dataset().to_table(columns=[*columns, "_application", "_batch_id"], filter=is_wanted)
    rows = arrow.to_pylist()
    marks = _newest_marks(settings, {row["_application"] for row in rows})
    return [row for row in rows if row["_batch_id"] <= marks[row["_application"]]]


def _newest_marks(settings: Settings, applications: set[str]) -> dict[str, int]:
    bronze = direct_read.open_table(settings, CLICK_EVENTS.name) if applications else None
    found = {one: bronze.transaction_version(one) if bronze else None for one in applications}
    return {one: -1 if batch is None else batch for one, batch in found.items()}


class Register:
    """The settled versions of the days that a stream works on, in memory; the stream is the only one that adds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._days: dict[date | None, set[Version]] = {}
        self._uncommitted: tuple[Mark, set[Version]] | None = None

    def known(self, objects: Iterable[NotifiedObject], mark: Mark) -> set[Version]:
        """Those of the objects that batches other than `mark` have settled."""
        self._take_over(mark)
        versions = {version_of(one): key_date(one.key) for one in objects}
        days = set(versions.values())
        if days - self._days.keys():
            self._load(days, mark)
        return {version for version, day in versions.items() if version in self._days[day]}

    def add(self, mark: Mark, versions: set[Version]) -> None:
        """Remember what the batch `mark` settled; it counts from the next batch on."""
        self._uncommitted = (mark, versions)

    def _take_over(self, mark: Mark) -> None:
        # A stream that gets to its next batch has committed the one before.
        if self._uncommitted and self._uncommitted[0] != mark:
            for version in self._uncommitted[1]:
                day = key_date(version[0])
                if day in self._days:
                    self._days[day].add(version)
            self._uncommitted = None

    def _load(self, days: set[date | None], mark: Mark) -> None:
        missing = days - self._days.keys()
        if len(self._days) + len(missing) > DAYS_IN_MEMORY:
            self._days = {day: versions for day, versions in self._days.items() if day in days}
        self._days |= {day: set() for day in missing}
        for version in settled(self._settings, missing, but_not=mark):
            self._days[key_date(version[0])].add(version)
