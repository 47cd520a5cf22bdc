"""What the merges of a table remember: how far they read Bronze, up to which cut, truncates, the purge horizon.

A merge first writes what it is going to do as a row of `ops.merges/<table>`, then the history, and last the live table.
The live table's commit carries the number of that row in the table's own state: which row counts is decided where the
rows are, in the same commit, and never expires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import Column, Row, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.append import Append
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut
from lakehouse.tables import CapturedTable, TableSpec
from lakehouse.tables.captured import POSITION


@dataclass(frozen=True)
class Memory:
    """The state of one merge. `ends` and `lowest` are offsets by `topic/partition`."""

    merge: int = 0
    """0: nothing was merged yet."""
    ends: Mapping[str, int] = field(default_factory=dict)
    """The next offset that no merge has looked at."""
    lowest: Mapping[str, int] = field(default_factory=dict)
    """The lowest offset that is not merged: below `ends` where a change lay beyond the cut."""
    cut: SourceCut | None = None
    replayed_through: datetime | None = None
    """Rows that came back from the quarantine up to this moment are merged."""
    truncates: tuple[Row, ...] = ()
    """Position and time of each truncate of the source."""
    horizon: Row | None = None
    """Deletes below this position are forgotten."""


def application(table: CapturedTable) -> str:
    """The name under which a table's state keeps the number of its newest merge."""
    return f"merge/{table.name}"


def number_in(spark: SparkSession, spec: TableSpec, table: CapturedTable, settings: Settings) -> int:
    """The merge whose rows a table holds; 0 for none."""
    return Append(spark, spec, settings).positions().get(application(table), 0)


def agree(spark: SparkSession, settings: Settings, table: CapturedTable) -> bool:
    """Whether the history holds the same merge as the live table: else an attempt was cut off between the two."""
    if not table.has_history:
        return True
    live, history = (number_in(spark, spec, table, settings) for spec in (table.silver, table.history))
    return live == history


def newest(spark: SparkSession, table: CapturedTable, settings: Settings) -> Memory:
    """The memory of the merge that the live table holds."""
    merge = number_in(spark, table.silver, table, settings)
    if not merge:
        return Memory()
    row = delta_io.read(spark, table.merges, settings).where(F.col("merge") == merge).first()
    assert row is not None, f"{table.merges.name} has no merge {merge}: it is written before the rows"
    return Memory(
        merge=merge,
        ends=row["ends"],
        lowest=row["lowest"],
        cut=SourceCut.from_json(row["cut"]) if row["cut"] else None,
        replayed_through=row["replayed_through"],
        truncates=tuple(row["truncates"]),
        horizon=row["horizon"],
    )


def next_number(spark: SparkSession, table: CapturedTable, settings: Settings) -> int:
    """A number that no attempt has used, also none that was cut off."""
    used = delta_io.read(spark, table.merges, settings).agg(F.max("merge")).first()
    return int(used[0] or 0) + 1 if used else 1


def remember(spark: SparkSession, table: CapturedTable, settings: Settings, memory: Memory, **counts: int) -> None:
    """Write the row of a merge before its rows. `counts`: events, refolded_keys, quarantined."""
    values: dict[str, Any] = {
        "merge": memory.merge,
        "ends": dict(memory.ends),
        "lowest": dict(memory.lowest),
        "cut": memory.cut.to_json() if memory.cut else None,
        "replayed_through": memory.replayed_through,
        "truncates": list(memory.truncates),
        "horizon": memory.horizon,
        "merged_at": datetime.now(UTC),
        **counts,
    }
    row = tuple(values.get(name) for name in table.merges.columns)
    delta_io.append(spark.createDataFrame([row], table.merges.schema).coalesce(1), table.merges, settings)


def literal(position: Row) -> Column:
    """A position as a column, to compare others with."""
    return F.struct(*[F.lit(value).alias(name) for name, value in position.asDict().items()]).cast(POSITION)
