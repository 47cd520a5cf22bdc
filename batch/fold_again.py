"""Keys whose rows in Silver nobody can account for (doubled, or of no row of the source) -> what Bronze gives of them.

Somebody wrote beside the merge, or it has a fault. A merge goes on from the rows that it finds, so it would keep them:
here all rows of these keys are taken away, and a fold of all their changes is put in their place, in one commit for
each table. The live one comes last, as in a merge; a crash before it leaves the difference to be found again.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch import fold, merge_memory
from batch.captured_tables import WAIT_SECONDS
from batch.heads import Silver
from batch.kept import kept
from batch.rebuild import states_of
from lakehouse import lease
from lakehouse.edit import Edit
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable

log = get_logger(__name__)


def fold_again(
    spark: SparkSession, settings: Settings, table: CapturedTable, keys: Sequence[tuple[object, ...]]
) -> int:
    """Make the rows of these keys anew from what the merges have taken of Bronze: live, deleted and history; returns
    how many of the keys are live then. A key that Bronze never saw has no row.

    Safe to call again. Raises `LeaseHeld`, `TableChanged` and `TableMissing`.
    """
    if not keys:
        return 0
    wanted = spark.createDataFrame(list(keys), table.key_type)
    with lease.hold(lease.of_silver(table.name), settings, WAIT_SECONDS):
        silver = Silver.of(spark, settings, table)
        memory = merge_memory.of(spark, table, settings, silver.live, silver.history)
        states = kept(states_of(spark, settings, table, memory, wanted))
        now = F.current_timestamp()
        newest = kept(fold.newest(states, table).withColumn("_merged_at", now))
        live, gone = newest.where("not is_gone"), newest.where("is_gone")
        _replace(silver.deleted, gone.withColumn("_deleted_at", F.col("_source_at")), wanted)
        if silver.history is not None:
            _replace(silver.history, fold.intervals(states, table).withColumn("_merged_at", now), wanted)
        _replace(silver.live, live, wanted)
        alive = live.count()
    log.info("keys_folded_again", table=table.name, keys=len(keys), live=alive)
    return alive


def _replace(edit: Edit, rows: DataFrame, keys: DataFrame) -> None:
    """Let a table hold these rows of the keys and no others, in one commit."""
    edit.take_away(edit.rows().join(keys, on=keys.columns, how="left_semi"))
    edit.write(rows.select(*edit.columns))
    edit.commit({})
