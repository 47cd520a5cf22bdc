"""The night's Bronze step: `python streaming/night.py bronze --business-date D --run-id R`. Safe to run again.

bronze  take the cut of the source, prove that its changes are in Kafka, catch up (or wait for the streams that run),
refuse changes with a hole or of another database, find the click objects that nobody announced, project the ledger,
check Bronze
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

# spark-submit runs this file by its path: the project's root must be importable.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import arrival, ledger, night_cut, night_step, source_rows
from lakehouse.settings import Settings
from lakehouse.tables import HEARTBEATS, SOURCE_MARKERS
from quality import gate, validation
from quality.score import scored_if_it_fails
from streaming import source_status
from streaming.catch_up import catch_up
from streaming.object_reconciliation import nights_days, reconcile

COMES_BY_ITSELF = (HEARTBEATS.changes.table, SOURCE_MARKERS.table)
"""Streams that have rows also where the shop is dead: the heartbeat's table and Debezium's own markers."""


def bronze(spark: SparkSession, settings: Settings, business_date: date, run_id: str) -> int:
    """The night has its cut, and everything that the sources held then is in Bronze and accounted for. Returns the
    rows that the shop sent within the last day, by the ledger.

    Raises `SourceChangesMissing` and `ConnectorNamesAnotherSource` before anything else is done with the changes.
    """
    with scored_if_it_fails(spark, settings, business_date, run_id):
        # Before anything can end the night: the log of Bronze forgets its entries, whether nights end well or not.
        ledger.project(spark, settings)
        cut, tables = source_rows.read(settings)
        night_cut.record(spark, settings, run_id, business_date, cut, tables)
        # After the cut: what it shows was committed before the heartbeat.
        ends = arrival.ends_after_beat(settings)
        catch_up(spark, settings)
        arrival.wait_for_bronze(spark, settings, ends)
        source_status.require_whole(settings)
        if reconcile(settings, nights_days(business_date)).announced:
            catch_up(spark, settings)
        is_of_a_day = F.col("committed_at") > F.lit(datetime.now(UTC) - timedelta(days=1))
        entries = ledger.project(spark, settings).where(is_of_a_day)
        gate.require(spark, settings, "bronze", business_date, run_id)
        return rows_of_the_shop(entries)


def rows_of_the_shop(entries: DataFrame) -> int:
    """Rows of `ops.ledger` -> the rows that batches took of what the shop sent: no replays, no heartbeats."""
    is_batch = F.coalesce("kind", F.lit("batch")) == "batch"
    of_the_shop = entries.where(is_batch & ~F.col("stream").isin(*COMES_BY_ITSELF))
    total = of_the_shop.agg(F.coalesce(F.sum("rows_read"), F.lit(0))).first()
    return int(total[0]) if total else 0


if __name__ == "__main__":
    validation.load_ahead()
    night_step.main({"bronze": bronze})
