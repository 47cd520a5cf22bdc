"""What the merges of a table remember: how far they read Bronze, up to which cut, truncates, the purge horizon.

A merge first writes what it is going to do as a row of `ops.merges/<table>`, then the history, and last the live table.
The live table's commit carries the number of that row in the table's own state: which row counts is decided where the
rows are, in the same commit, and never expires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyspark.sql import Column, Row, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io, few_rows
from lakehouse.append import Append
from lakehouse.delta_io import Mark
from lakehouse.edit import Edit, TableChanged
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut
from lakehouse.tables import CapturedTable
from lakehouse.tables.captured import POSITION


@dataclass(frozen=True)
class Memory:
    """The state of one merge. `ends` and `lowest` are offsets by `topic/partition`."""

    merge: int = 0
    """0: nothing was merged yet."""
    ends: Mapping[str, int] = field(default_factory=dict)
    """The next offset that no merge has looked at; beside them how often a topic has begun again."""
    lowest: Mapping[str, int] = field(default_factory=dict)
    """The lowest offset that is not merged: below `ends` where a change lay beyond the cut."""
    cut: SourceCut | None = None
    replayed_through: datetime | None = None
    """Rows that came back from the quarantine up to this moment are merged."""
    truncates: tuple[Row, ...] = ()
    """Position and time of each truncate of the source."""
    horizon: Row | None = None
    """Deletes below this position are forgotten."""
    has_moved_rows: bool = False
    """Whether any change took large values along from a row with another key."""
    last_number: int = 0
    """The highest number that an attempt has used, also one that was cut off."""
    is_whole: bool = True
    """Whether the history holds the same merge as the live table: else an attempt was cut off between the two."""
    is_cut_off: bool = False
    """Whether an attempt behind this merge was begun and did not end; its deletes may be remembered already."""


def application(table: CapturedTable) -> str:
    """The name under which a table's state keeps the number of its newest merge."""
    return f"merge/{table.name}"


def newest(spark: SparkSession, table: CapturedTable, settings: Settings) -> Memory:
    """The memory of the merge that the live table holds."""
    history = Append(spark, table.history, settings) if table.has_history else None
    return of(spark, table, settings, Append(spark, table.silver, settings), history)


def of(spark: SparkSession, table: CapturedTable, settings: Settings, live: Append, history: Append | None) -> Memory:
    """The same, as of open transactions on the live table and the history (None where the table has none)."""
    merge = live.positions().get(application(table), 0)
    is_whole = history is None or history.positions().get(application(table), 0) == merge
    # That merge, and those behind it that were cut off.
    rows = delta_io.read(spark, table.merges, settings).where(F.col("merge") >= merge).collect()
    last_number = max((row["merge"] for row in rows), default=0)
    if not merge:
        return Memory(last_number=last_number, is_whole=is_whole, is_cut_off=bool(rows))
    row = next((row for row in rows if row["merge"] == merge), None)
    assert row is not None, f"{table.merges.name} has no merge {merge}: it is written before the rows"
    return Memory(
        merge=merge,
        ends=row["ends"],
        lowest=row["lowest"],
        cut=SourceCut.from_json(row["cut"]) if row["cut"] else None,
        replayed_through=row["replayed_through"],
        truncates=tuple(row["truncates"]),
        horizon=row["horizon"],
        # Null, or no column at all, in a table of before this was remembered.
        has_moved_rows=row.asDict().get("has_moved_rows") is not False,
        last_number=last_number,
        is_whole=is_whole,
        is_cut_off=any(row["merge"] > merge and row["events"] for row in rows),
    )


def remember(spark: SparkSession, table: CapturedTable, settings: Settings, memory: Memory, **counts: int) -> None:
    """Write the row of a merge before its rows. `counts`: events, refolded_keys, quarantined.

    Raises `TableChanged` where an attempt of the same number has written its own: this one outlived its lease.
    """
    values = {
        "merge": memory.merge,
        "ends": dict(memory.ends),
        "lowest": dict(memory.lowest),
        "cut": memory.cut.to_json() if memory.cut else None,
        "replayed_through": memory.replayed_through,
        "truncates": list(memory.truncates),
        "horizon": memory.horizon,
        "has_moved_rows": memory.has_moved_rows,
        "merged_at": datetime.now(UTC),
        **counts,
    }
    edit = Edit(spark, table.merges, settings)
    edit.write(few_rows.frame(spark, [values], table.merges.schema))
    if not edit.commit_once(Mark(application(table), memory.merge)):
        raise TableChanged(table.merges.name)


def literal(position: Row) -> Column:
    """A position as a column, to compare others with."""
    return F.struct(*[F.lit(value).alias(name) for name, value in position.asDict().items()]).cast(POSITION)
