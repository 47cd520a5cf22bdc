"""What became of rejected rows, as `ops.quarantine_outcomes` names it."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import quarantine_of, quarantine_outcomes_of

REPLAYED, DISCARDED, STILL_BAD = "replayed", "discarded", "still_bad"


def rejected_without(spark: SparkSession, settings: Settings, name: str, *outcomes: str) -> DataFrame | None:
    """The rows that a stream (or a merge) rejected and that have none of these outcomes; None where it never rejected
    any.
    """
    rejected, decided = quarantine_of(name), quarantine_outcomes_of(name)
    if not delta_io.exists(spark, rejected, settings):
        return None
    rows = delta_io.read(spark, rejected, settings)
    if not delta_io.exists(spark, decided, settings):
        return rows
    done = delta_io.read(spark, decided, settings).where(F.col("outcome").isin(*outcomes))
    return rows.join(done, on="quarantine_id", how="left_anti")
