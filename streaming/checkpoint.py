"""What a checkpoint promised: the query's id, and the offsets that each batch must hold. The ledger's independent
witness.
"""

from __future__ import annotations

import json
from typing import Any

from pyspark.sql import SparkSession

from lakehouse.ledger_entry import OffsetRange
from lakehouse.settings import Settings
from lakehouse.tables import TableSpec


def location(spec: TableSpec, settings: Settings) -> str:
    """Where the stream of a table keeps its checkpoint: derived from the table's name, never typed."""
    return f"{settings.checkpoints}/{spec.layer}/{spec.table}"


def _read_text(spark: SparkSession, path: str) -> str | None:
    jvm: Any = spark.sparkContext._jvm
    file = jvm.org.apache.hadoop.fs.Path(path)
    system = file.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    if not system.exists(file):
        return None
    stream = system.open(file)
    try:
        return str(jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
    finally:
        stream.close()


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
    """The offsets that Spark wrote down for this batch before it ran, per topic and partition; empty ranges left
    out.
    """
    end = _offsets(_read_text(spark, f"{checkpoint}/offsets/{batch_id}"))
    before = f"{checkpoint}/offsets/{batch_id - 1}" if batch_id else f"{checkpoint}/sources/0/0"
    begin = _offsets(_read_text(spark, before))
    ranges = [
        # A partition that was added since begins at its first offset.
        OffsetRange(topic, int(partition), begin.get(topic, {}).get(partition, 0), to)
        for topic, partitions in sorted(end.items())
        for partition, to in sorted(partitions.items())
    ]
    return tuple(one for one in ranges if one.size)


def committed_positions(spark: SparkSession, checkpoint: str) -> dict[tuple[str, int], int]:
    """Next offset per topic and partition after the newest batch that the checkpoint holds as done; empty before
    the first.
    """
    jvm: Any = spark.sparkContext._jvm
    folder = jvm.org.apache.hadoop.fs.Path(f"{checkpoint}/commits")
    system = folder.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    if not system.exists(folder):
        return {}
    done = [int(name) for one in system.listStatus(folder) if (name := one.getPath().getName()).isdigit()]
    if not done:
        return {}
    offsets = _offsets(_read_text(spark, f"{checkpoint}/offsets/{max(done)}"))
    return {(topic, int(partition)): to for topic, ends in offsets.items() for partition, to in ends.items()}
