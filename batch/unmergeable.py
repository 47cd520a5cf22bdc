"""Changes that no merge can place go to `ops.quarantine/silver_<table>`: they stay rows of Bronze, and are named."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from batch.keep_rejected import keep_rejected
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable, TableSpec, quarantine_of

STAGE = "silver"


def quarantine(table: CapturedTable) -> TableSpec:
    """Where the changes of a table go that can't be merged."""
    return quarantine_of(table.rejects)


def reasons(table: CapturedTable) -> Column:
    """Why a row of Bronze can't be merged, as an array; null for one that can. A truncate has no key by design."""
    is_truncate = F.col("op") == "t"
    has_key = F.col("key").isNotNull()
    for key in table.keys:
        has_key = has_key & F.col("key")[key].isNotNull()
    found = (
        F.when(F.col("lsn").isNull(), F.lit("missing_position")),
        F.when(~is_truncate & ~F.coalesce(has_key, F.lit(False)), F.lit("missing_key")),
        F.when(F.col("op").isin("r", "c", "u") & F.col("after").isNull(), F.lit("missing_row")),
    )
    named = F.array_compact(F.array(*found))
    return F.when(F.size(named) > 0, named)


def keep(rows: DataFrame, table: CapturedTable, settings: Settings) -> int:
    """Add rows (of Bronze, with `_reasons`) that are not there yet; returns how many rows there were."""
    count = rows.count()
    if not count:
        return 0
    # The bytes are those of Bronze, by this origin; this is the row as it was decoded.
    decoded = F.to_json(F.struct("op", "before", "after")).cast("binary")
    keep_rejected(rows, table, quarantine(table), settings, STAGE, decoded)
    return count
