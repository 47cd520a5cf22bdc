"""A change of rows in two moves: what goes and what comes is written to files first, then committed together or not.

Delta's MERGE reads the table twice to find the rows that a change touches. Who has read them already knows where they
stand, and can mark them as deleted there (a deletion vector) without another read. The table must allow that
(`delta.enableDeletionVectors`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from delta import exceptions
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.append import Append
from lakehouse.delta_io import Mark
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec

PLACE = "_place"
"""Where a row stands: the file, and the number of the row in it."""
PLACE_TYPE = "struct<file:string,row:bigint>"
CONFLICTS = (
    exceptions.ConcurrentAppendException,
    exceptions.ConcurrentDeleteDeleteException,
    exceptions.ConcurrentDeleteReadException,
    exceptions.ConcurrentTransactionException,
    exceptions.ConcurrentWriteException,
    exceptions.MetadataChangedException,
    exceptions.ProtocolChangedException,
)
"""Delta gives them no common class."""


class TableChanged(LakehouseError):
    """Somebody else committed to a table between the beginning and the commit of an edit."""

    def __init__(self, table: str) -> None:
        super().__init__(f"{table} was changed by somebody else meanwhile, so nothing was written there: run it again.")


class Edit(Append):
    """One open transaction that takes rows away and adds others, all as of one version of the table."""

    def __init__(self, spark: SparkSession, spec: TableSpec, settings: Settings) -> None:
        super().__init__(spark, spec, settings)
        self.spark, self._settings = spark, settings
        self._vectors: list[Any] = []

    def anew(self) -> Edit:
        """Another transaction on the same table, as it is now."""
        return Edit(self.spark, self._spec, self._settings)

    def rows(self) -> DataFrame:
        """All rows as of `version`, with their `_place`."""
        place = F.struct("_metadata.file_path", "_metadata.row_index").cast(PLACE_TYPE)
        found = delta_io.read(self.spark, self._spec, self._settings, self.version)
        return found.select(*self._spec.columns, place.alias(PLACE))

    def take_away(self, rows: DataFrame) -> int:
        """Mark the rows with these `_place`s as deleted, in files of their own; returns of how many data files."""
        delta = self._jvm.org.apache.spark.sql.delta
        helper, transaction = delta.commands.DMLWithDeletionVectorsHelper, self._transaction
        snapshot, log = transaction.snapshot(), transaction.deltaLog()
        # All of them: whoever adds rows meanwhile is in conflict with us, as with a MERGE.
        files = transaction.filterFiles()
        vectors = delta.commands.DeletionVectorBitmapGenerator.buildRowIndexSetsForFilesMatchingCondition(
            self.spark._jsparkSession,
            transaction,
            True,
            rows.select(PLACE)._jdf,
            files,
            self._jvm.org.apache.spark.sql.catalyst.expressions.Literal.TrueLiteral(),
            self._column(F.col(f"{PLACE}.file")),
            self._column(F.col(f"{PLACE}.row")),
        )
        by_path = helper.generateCandidateFileMap(log.dataPath(), files)
        touched = helper.findFilesWithMatchingRows(transaction, by_path, vectors)
        # How much of a text the statistics of a file keep.
        length = delta.stats.StatsCollectionUtils.getDataSkippingStringPrefixLength(
            self.spark._jsparkSession, transaction.metadata()
        )
        changed = helper.processUnmodifiedData(self.spark._jsparkSession, touched, snapshot, length)
        self._vectors.append(changed._1())
        return int(touched.size())

    def commit(self, positions: Mapping[str, int], metadata: str = "") -> int:
        """Commit what was taken away and written; returns the version. Raises `TableChanged`."""
        try:
            return super().commit(positions, metadata)
        except CONFLICTS as error:
            self.discard()
            raise TableChanged(self._spec.name) from error

    def commit_once(self, mark: Mark) -> bool:
        """Commit, unless the table already holds this `mark` or a later one; returns whether it did. Raises
        `TableChanged`.
        """
        if self.positions().get(mark.application, mark.batch - 1) >= mark.batch:
            self.discard()
            return False
        # Whoever commits for the same application meanwhile is in conflict with us.
        self._transaction.readTxn().addOne(mark.application)
        self.commit({mark.application: mark.batch})
        return True

    def _actions(self) -> Any:
        actions = super()._actions()
        for vectors in self._vectors:
            actions = actions.appendedAll(vectors)
        return actions

    def _mode(self) -> Any:
        # None of Delta's own statements for rows that change, whose figures the commit would have to give.
        return self._jvm.org.apache.spark.sql.SaveMode.Overwrite if self._vectors else super()._mode()

    def _column(self, column: Column) -> Any:
        return self._some(column._jc)
