"""The gate: a layer's checks must hold, and a check that did not run does not."""

from __future__ import annotations

from datetime import date

from pyspark.sql import SparkSession

from lakehouse.errors import GateClosed
from lakehouse.settings import Settings
from quality.suites import check_layer


def require(spark: SparkSession, settings: Settings, layer: str, business_date: date, run_id: str) -> None:
    """Check a layer and record the results. Raises `GateClosed` when a blocking check failed or did not run."""
    result = check_layer(spark, settings, layer, business_date, run_id)
    if result.failures:
        raise GateClosed(layer, result.failures)
