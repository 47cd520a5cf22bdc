"""Values that Debezium left out of a change and that no change in Bronze has: null, and named in `_unresolved_columns`.

The night that finds such rows asks for them: Debezium reads them again, and the next merge fills them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import SparkSession

from batch import repair
from batch.differences import Difference
from batch.reconcile import Comparison
from batch.repair import Repaired
from lakehouse import delta_io
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut

MOST_ROWS = 10_000
"""So many of a table are asked for in one night."""


def ask(spark: SparkSession, settings: Settings, run: str, cut: SourceCut, found: Sequence[Comparison]) -> list[str]:
    """Ask for the rows of the tables that differ, and write it down; returns a sentence for each table that was asked
    for: what came, or why nothing did. The difference is told in any case.
    """
    said = []
    for one in found:
        table = one.source.table
        live = delta_io.read(spark, table.silver, settings).where("_unresolved_columns is not null")
        # A recorded cut does not say what the source calls a key that was renamed: `reconcile --repair` asks for those.
        can_ask = one.differing and not set(table.keys) & set(table.old_names.values())
        keys = live.select(*table.keys).limit(MOST_ROWS).collect() if can_ask else []
        rows = [Difference(table, tuple(key), "changed") for key in keys]
        if not rows:
            continue
        try:
            came = repair.ask(settings, rows, one.source.shape)
        except LakehouseError as error:
            said.append(f"Of {len(rows)} rows of {table.name}, values had never been seen. {error}")
            continue
        repair.record(spark, settings, run, table.name, rows, Repaired(came, 0), cut)
        read_again = (
            f"Of {came} rows of {table.name}, values had never been seen: they were read again. Run the night again."
        )
        said += [str(one) for one in repair.missing(rows, came)] or [read_again]
    return said
