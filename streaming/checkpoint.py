"""What a checkpoint promised: the query's id, and the offsets that each batch must hold. The ledger's independent
witness.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

from lakehouse.errors import LakehouseError
from lakehouse.ledger_entry import OffsetRange
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec


class CheckpointStays(LakehouseError):
    """A checkpoint could not be moved out of the way."""

    def __init__(self, checkpoint: str, kept: str) -> None:
        super().__init__(
            f"The checkpoint {checkpoint} could not be renamed to {kept}. Nothing was written. Look who may write to "
            "the folder around it and whether its disk is full, then start again."
        )


def location(spec: TableSpec, settings: Settings) -> str:
    """Where the stream of a table keeps its checkpoint: derived from the table's name, never typed."""
    return f"{settings.checkpoints}/{spec.layer}/{spec.table}"


def _file(spark: SparkSession, path: str) -> tuple[Any, Any]:
    jvm: Any = spark.sparkContext._jvm
    file = jvm.org.apache.hadoop.fs.Path(path)
    return file, file.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())


def _read_text(spark: SparkSession, path: str) -> str | None:
    file, system = _file(spark, path)
    if not system.exists(file):
        return None
    stream = system.open(file)
    try:
        jvm: Any = spark.sparkContext._jvm
        return str(jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
    finally:
        stream.close()


def exists(spark: SparkSession, checkpoint: str) -> bool:
    """Whether a query has begun here: its metadata file is the first that it writes."""
    file, system = _file(spark, f"{checkpoint}/metadata")
    return bool(system.exists(file))


def set_aside(spark: SparkSession, checkpoint: str) -> str:
    """Rename the checkpoint, so that the next start makes a new one; returns the new name. Raises
    `CheckpointStays`.
    """
    kept = f"{checkpoint}.until-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    file, system = _file(spark, checkpoint)
    if not system.rename(file, _file(spark, kept)[0]):
        raise CheckpointStays(checkpoint, kept)
    return kept


def query_id(spark: SparkSession, checkpoint: str) -> str:
    """The id of the query that the checkpoint belongs to; a new checkpoint has a new id."""
    text = _read_text(spark, f"{checkpoint}/metadata")
    assert text is not None, f"no metadata file in {checkpoint}: the query writes it before its first batch"
    return str(json.loads(text)["id"])


def _offsets(text: str | None) -> dict[str, dict[str, int]]:
    # Both files begin with a version line; the source's offsets are their last line.
    found: dict[str, dict[str, int]] = json.loads(text.strip().splitlines()[-1]) if text else {}
    return found


def promised_ranges(spark: SparkSession, checkpoint: str, batch_id: int) -> tuple[OffsetRange, ...]:
    """The offsets that Spark wrote down for this batch before it ran, for each topic and partition, also empty ones."""
    end = _offsets(_read_text(spark, f"{checkpoint}/offsets/{batch_id}"))
    before = f"{checkpoint}/offsets/{batch_id - 1}" if batch_id else f"{checkpoint}/sources/0/0"
    begin = _offsets(_read_text(spark, before))
    return tuple(
        # A partition that was added since begins at its first offset.
        OffsetRange(topic, int(partition), begin.get(topic, {}).get(partition, 0), to)
        for topic, partitions in sorted(end.items())
        for partition, to in sorted(partitions.items())
    )


def _positions(text: str | None) -> dict[tuple[str, int], int]:
    offsets = _offsets(text)
    return {(topic, int(partition)): to for topic, found in offsets.items() for partition, to in found.items()}


def first_positions(spark: SparkSession, checkpoint: str) -> dict[tuple[str, int], int]:
    """Offset per topic and partition at which the first batch begins, as Spark wrote it down at the first start; empty
    before that.
    """
    return _positions(_read_text(spark, f"{checkpoint}/sources/0/0"))


def committed_positions(spark: SparkSession, checkpoint: str) -> dict[tuple[str, int], int]:
    """Next offset per topic and partition after the newest batch that the checkpoint holds as done; empty before
    the first.
    """
    folder, system = _file(spark, f"{checkpoint}/commits")
    if not system.exists(folder):
        return {}
    done = [int(name) for one in system.listStatus(folder) if (name := one.getPath().getName()).isdigit()]
    if not done:
        return {}
    return _positions(_read_text(spark, f"{checkpoint}/offsets/{max(done)}"))
