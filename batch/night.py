"""The night's batch steps: `python batch/night.py STEP... --business-date D --run-id R`. Each is safe to run again.

silver  merge Silver, compare it with what Postgres held at the night's cut, check Silver
gold    build the candidate with dbt, check it, score the night, publish what passed
"""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

# spark-submit runs this file by its path: the project's root must be importable.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pyspark.sql import SparkSession

from batch import clicks, inventory_levels, never_seen, reconcile, sessions
from batch.gold import build_candidate
from batch.publish import publish
from lakehouse import night_cut, night_step
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from quality import gate, validation
from quality.score import score_night, scored_if_it_fails

log = get_logger(__name__)


def silver(spark: SparkSession, settings: Settings, business_date: date, run_id: str) -> int:
    """Silver equals the source at the night's cut. Returns the number of merged events."""
    with scored_if_it_fails(spark, settings, business_date, run_id):
        cut, tables = night_cut.recorded(spark, settings, run_id)
        merged, found = reconcile.merge_and_compare(spark, settings, cut, tables)
        reconcile.record(spark, settings, run_id, business_date, cut, found)
        reconcile.require_agreement(found, never_seen.ask(spark, settings, run_id, cut, found))
        merged += inventory_levels.run(spark, settings) + clicks.run(spark, settings)
        sessions.run(spark, settings)
        gate.require(spark, settings, "silver", business_date, run_id)
        return merged


def gold(spark: SparkSession, settings: Settings, business_date: date, run_id: str) -> int:
    """Readers see this night's checked Gold, or stay on the last good version. Returns the rows that were published."""
    with scored_if_it_fails(spark, settings, business_date, run_id):
        build_candidate(spark, settings, business_date, run_id)
        gate.require(spark, settings, "candidate", business_date, run_id)
    score = score_night(spark, settings, business_date, run_id)
    log.info("night_scored", business_date=business_date, score=score)
    return publish(spark, settings, business_date, run_id)


if __name__ == "__main__":
    validation.load_ahead()
    night_step.main({"silver": silver, "gold": gold})
