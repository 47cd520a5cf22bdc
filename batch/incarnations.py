"""The lives of the source database. After a restore or a failover to another system its log positions begin anew: they
are neither older nor newer than those before, until an operator says which life follows which.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from lakehouse import delta_io
from lakehouse.errors import LakehouseError
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import INCARNATIONS

log = get_logger(__name__)


class UnknownIncarnation(LakehouseError):
    """Changes come from a database that nobody has opened."""

    def __init__(self, found: Collection[str], known: Collection[str]) -> None:
        super().__init__(
            f"Changes come from the source {', '.join(sorted(found))}; expected {', '.join(known) or 'one source'}. "
            "Was the database restored or failed over? Nothing was merged. If its rows continue those of before, "
            '`lakehouse batch open-incarnation NAME --reason "..."` says so (docs/runbooks/source-restored.md).'
        )


def known(spark: SparkSession, settings: Settings) -> list[str]:
    """The incarnations, the oldest first."""
    if not delta_io.exists(spark, INCARNATIONS, settings):
        return []
    rows = delta_io.read(spark, INCARNATIONS, settings).orderBy("ordinal").collect()
    # Merges of two tables that begin at one moment may both have opened the first.
    return list(dict.fromkeys(row["incarnation"] for row in rows))


def require(spark: SparkSession, settings: Settings, found: Collection[str]) -> list[str]:
    """The incarnations, the oldest first, after a look at those that changes come from.

    The first one ever opens itself. Raises `UnknownIncarnation`.
    """
    opened = known(spark, settings)
    if not opened and len(found) == 1:
        opened = open_next(spark, settings, next(iter(found)), reason="the first")
    if unknown := set(found) - set(opened):
        raise UnknownIncarnation(unknown, opened)
    return opened


def open_next(spark: SparkSession, settings: Settings, name: str, reason: str) -> list[str]:
    """Let `name` follow all incarnations of before; returns all. Opening one again changes nothing."""
    opened = known(spark, settings)
    if name in opened:
        return opened
    row = (len(opened) + 1, name, reason, datetime.now(UTC))
    delta_io.append(spark.createDataFrame([row], INCARNATIONS.schema).coalesce(1), INCARNATIONS, settings)
    log.info("incarnation_opened", incarnation=name, ordinal=len(opened) + 1, reason=reason)
    return [*opened, name]
