"""Files that no version of the last week needs are deleted.

Compaction, merges and each night's candidate leave the files of older versions where they are. Gold keeps all of its
own: a morning report of an earlier date reads the version that was published then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyspark.sql import SparkSession

from batch.marts import candidate
from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import BRONZE, CLICK_OBJECTS, MARTS, SILVER, TableSpec

LOGGED = "spark.databricks.delta.vacuum.logging.enabled"


@dataclass(frozen=True)
class Vacuumed:
    """Bytes that the folder of one table held, its log among them."""

    table: str
    before: int
    after: int

    def __str__(self) -> str:
        freed = f"{(self.before - self.after) / 1e6:.1f} MB" if self.before > self.after else "nothing"
        return f"{self.table}: {freed} of {self.before / 1e6:.1f} MB deleted"


def vacuum(spark: SparkSession, settings: Settings) -> Iterator[Vacuumed]:
    """Vacuum the tables of Bronze and Silver and the candidates that are there, one by one.

    A file goes when it left its table a week ago (Delta's own retention), or never belonged to it and is a week old:
    what a driver that was killed had written. Beside streams and nights, on S3 too: nothing is committed.
    """
    # Delta would note the beginning and the end in the table's own log, where a stream may commit at that moment.
    spark.conf.set(LOGGED, "false")
    for spec in (*BRONZE, CLICK_OBJECTS, *SILVER, *map(candidate, MARTS)):
        if delta_io.exists(spark, spec, settings):
            before = _bytes(spark, spec, settings)
            delta_io.table(spark, spec, settings).vacuum()
            yield Vacuumed(spec.name, before, _bytes(spark, spec, settings))


def _bytes(spark: SparkSession, spec: TableSpec, settings: Settings) -> int:
    path = spark.sparkContext._jvm.org.apache.hadoop.fs.Path(spec.path(settings))  # type: ignore[union-attr]
    system = path.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    return int(system.getContentSummary(path).getLength())
