"""An append in two moves: write the files, look at what came out, then commit all of it or nothing.

`DataFrameWriter` commits what it wrote at once, so counts would have to be known before, by a pass of their own.
Delta's own transaction can be held open between the two. It also carries positions: (application, number) pairs that
live in the table's state beside the rows, change in the same commit, and never expire as the metadata of commits does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from lakehouse import delta_io
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec


class Append:
    """One open transaction that appends to the table of `spec`. Nothing of it is seen by readers before `commit`."""

    def __init__(self, spark: SparkSession, spec: TableSpec, settings: Settings) -> None:
        self._spec = spec
        self._path = spec.path(settings)
        jvm: Any = spark.sparkContext._jvm
        session: Any = spark._jsparkSession
        self._jvm = jvm
        log = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(session, self._path)
        self._transaction = log.startTransaction(self._none(), self._none())
        self._files: Any = None

    @property
    def columns(self) -> list[str]:
        """The declared columns of the table."""
        return self._spec.columns

    @property
    def version(self) -> int:
        """Number of the table's newest commit when the transaction began."""
        return int(self._transaction.readVersion())

    def positions(self) -> dict[str, int]:
        """Application -> number, as of `version`."""
        snapshot = self._transaction.snapshot()
        checksum = snapshot.checksumOpt()
        known = checksum.get().setTransactions() if checksum.isDefined() else checksum
        # Where the commit's checksum file does not have them, the table's state is computed: a job of half a second.
        found = known.get() if known.isDefined() else snapshot.setTransactions()
        return {str(one.appId()): int(one.version()) for one in _each(found)}

    def write(self, frame: DataFrame) -> int:
        """Write the rows to files of the table; returns how many. Raises `SchemaMismatch`."""
        self.discard()
        self._files = self._transaction.writeFiles(delta_io.fits(frame, self._spec)._jdf)
        return sum(int(one.numLogicalRecords().get()) for one in _each(self._files))

    def discard(self) -> None:
        """Delete the files that were written; harmless when there are none."""
        if self._files is None:
            return
        path = self._jvm.org.apache.hadoop.fs.Path
        system = path(self._path).getFileSystem(self._transaction.deltaLog().newDeltaHadoopConf())
        for file in _each(self._files):
            system.delete(path(self._path, file.path()), False)
        self._files = None

    def commit(self, positions: Mapping[str, int], metadata: str) -> int:
        """Commit the files (or none: then only the metadata and the positions); returns the version.

        Does not ask whether somebody else moved a position meanwhile: that would read the table's state for every
        commit (half a second of a core), and the lease keeps a second writer out.
        """
        for application, number in positions.items():
            self._transaction.updateSetTransaction(application, number, self._none())
        version = int(self._transaction.commit(self._actions(), self._operation(metadata)))
        self._files = None
        return version

    def _actions(self) -> Any:
        """What the commit does to files."""
        return self._files if self._files is not None else self._no_actions()

    def _operation(self, metadata: str) -> Any:
        """What the table's history says of the commit."""
        # Behind a manual update, Delta computes all of the table's state for its checksum; behind a write what changed.
        operation = getattr(self._jvm.org.apache.spark.sql.delta, "DeltaOperations$Write")
        none = self._none()
        return operation(self._mode(), none, none, self._some(metadata), none, none, none, none, none)

    def _mode(self) -> Any:
        return self._jvm.org.apache.spark.sql.SaveMode.Append

    def _no_actions(self) -> Any:
        return self._jvm.org.apache.spark.api.python.PythonUtils.toSeq(self._jvm.java.util.ArrayList())

    def _none(self) -> Any:
        return self._jvm.scala.Option.empty()

    def _some(self, value: Any) -> Any:
        return self._jvm.scala.Option.apply(value)


class KnownPositions:
    """What the one writer of a table knows of its positions; read again only after somebody else's commit."""

    def __init__(self) -> None:
        self._version = -1
        self.newest: dict[str, int] | None = None
        """As it saw them last, without a look at the table; None before the first look."""

    def at(self, append: Append) -> dict[str, int]:
        """Application -> number, as of the version that `append` began at."""
        if self.newest is None or append.version != self._version:
            self._version, self.newest = append.version, append.positions()
        return self.newest

    def commit(self, append: Append, moved: Mapping[str, int], metadata: str) -> None:
        """Commit, and remember what it moved."""
        known = self.at(append) | dict(moved)
        self._version, self.newest = append.commit(moved, metadata), known


def _each(sequence: Any) -> Iterator[Any]:
    """The elements of a Scala sequence."""
    return (sequence.apply(index) for index in range(sequence.size()))
