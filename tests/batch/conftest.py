"""Nights of merges that leave nothing behind in the session that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession
from things_nights import Night

from lakehouse.settings import Settings


@pytest.fixture
def night(spark: SparkSession, settings: Settings) -> Iterator[Night]:
    """Whatever happens in it leaves nothing in Spark's cache: that would hold the state of the tables with it."""
    spark.catalog.clearCache()
    yield Night(spark, settings)
    assert spark._jsparkSession.sharedState().cacheManager().isEmpty()
