"""Which keys of a bucket differ, and how: read again on both sides, for the buckets that differ and no others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from batch import quarantined_keys
from batch.reconcile import Comparison, canonical
from lakehouse import delta_io, source_rows
from lakehouse.settings import Settings
from lakehouse.source_cut import Reading
from lakehouse.tables import CapturedTable

MOST_BUCKETS = 256
"""So many buckets are looked into at once: their keys pass through the memory of one process."""
Kind = Literal["lost", "changed", "doubled", "extra"]
Keyed = Iterable[tuple[str, tuple[object, ...], int]]
"""Canonical key, key values and row hash of each row."""


@dataclass(frozen=True)
class Difference:
    """One key whose rows differ."""

    table: CapturedTable
    key: tuple[object, ...]
    kind: Kind
    """`lost`: Silver lacks it. `changed`: its values differ. `doubled`: Silver has it several times. `extra`: Postgres
    lacks it.
    """
    is_quarantined: bool = False
    """Whether a change of this key was rejected and lies in the quarantine."""

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in zip(self.table.keys, self.key, strict=True))
        rejected = ", a change of it is in the quarantine" if self.is_quarantined else ""
        return f"{self.table.name} {values}: {self.kind}{rejected}"


def of(spark: SparkSession, settings: Settings, connection: Reading, found: Comparison) -> list[Difference]:
    """The keys that differ in the first differing buckets, in order. `connection` reads by the comparison's own cut."""
    buckets = found.differing[:MOST_BUCKETS]
    if not buckets:
        return []
    theirs = source_rows.keys(connection, found.source, buckets, settings.postgres_read_seconds)
    rows = canonical(delta_io.read(spark, found.source.table.silver, settings), found.source)
    ours = rows.where(F.col("bucket").isin(buckets)).select("key_text", "key", "row_hash").collect()
    silver = ((row["key_text"], tuple(row["key"]), row["row_hash"]) for row in ours)
    rejected = quarantined_keys.of(spark, settings, found.source.table)
    return [
        replace(one, is_quarantined=tuple(map(str, one.key)) in rejected)
        for one in between(found.source.table, theirs, silver)
    ]


def between(table: CapturedTable, source: Keyed, silver: Keyed) -> list[Difference]:
    """The differences of two sets of rows, by key."""
    values: dict[str, tuple[object, ...]] = {}
    theirs: dict[str, int] = {}
    ours: defaultdict[str, list[int]] = defaultdict(list)
    for text, key, row_hash in source:
        values[text], theirs[text] = key, row_hash
    for text, key, row_hash in silver:
        # A doubled row is looked for in Silver, by a value of Silver's type.
        values[text] = key if ours[text] else values.get(text, key)
        ours[text].append(row_hash)
    kinds = {text: _kind(theirs.get(text), ours.get(text, [])) for text in sorted(values)}
    return [Difference(table, values[text], kind) for text, kind in kinds.items() if kind]


def _kind(source: int | None, silver: list[int]) -> Kind | None:
    if source is None:
        return "extra"
    if not silver:
        return "lost"
    if len(silver) > 1:
        return "doubled"
    return None if silver == [source] else "changed"
