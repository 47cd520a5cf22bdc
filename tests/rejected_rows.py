"""Rejected rows as a stream leaves them, without a broker: judged and committed the way the shared writer does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse import positions as bronze_positions
from lakehouse.append import Append, KnownPositions
from lakehouse.errors import LeaseLost
from lakehouse.kafka_offsets import TopicLog
from lakehouse.ledger_entry import Entry, OffsetRange
from lakehouse.settings import Settings
from streaming import continuity, rejected
from streaming.bronze_writer import BronzeStream
from streaming.quarantine_requests import Request, new_id
from streaming.quarantine_selection import Selection
from streaming.writer_schemas import WriterSchemas

TOPIC = "topic"


@dataclass
class KnownIds:
    """What a registry would answer: schemas by id, none for the others."""

    schemas: dict[int, str] = field(default_factory=dict)

    def schema(self, schema_id: int) -> str | None:
        return self.schemas.get(schema_id)


def reject(
    spark: SparkSession,
    settings: Settings,
    stream: BronzeStream,
    raw: DataFrame,
    topic: str = TOPIC,
    is_cut_off: bool = False,
) -> None:
    """Put all of the raw rows into the quarantine, as batch 0; `is_cut_off`: the driver died before Bronze's commit."""
    judged = stream.transform(raw, WriterSchemas()).persist()
    groups = rejected.by_name(judged)
    rows = sum(one.rows for one in groups)
    bad = {"+".join(one.reasons): one.rows for one in groups if one.reasons}
    assert sum(bad.values()) == rows, groups
    logs = {topic: TopicLog("id", {0: 0}, {0: 1_000})}
    ranges = (OffsetRange(topic, 0, 0, 1_000),)
    entry = Entry(stream.spec.table, "q", 0, ranges, rows, rows, 0, bad, ingested_at="2026-11-23 12:00:00")
    rejected.commit(judged, None, stream, settings, entry, logs, KnownPositions())
    delta_io.ensure(spark, stream.spec, settings)
    if not is_cut_off:
        ends = bronze_positions.applications(continuity.ends(ranges, logs))
        Append(spark, stream.spec, settings).commit(ends, entry.to_json())
    judged.unpersist()


def ask(stream: BronzeStream, kind: Any = "replay", is_dry_run: bool = False, why: str = "", **chosen: Any) -> Request:
    selection = Selection(**{name: tuple(each) for name, each in chosen.items()})
    return Request(new_id(), stream.spec.table, kind, selection, "tester", why, is_dry_run)


def bronze(spark: SparkSession, settings: Settings, stream: BronzeStream) -> list[Any]:
    return delta_io.read(spark, stream.spec, settings).orderBy(F.col("_offset")).collect()


def positions(spark: SparkSession, settings: Settings, stream: BronzeStream) -> dict[str, int]:
    return Append(spark, stream.spec, settings).positions()


class LeaseOfTest:
    """A lease that is held for as long as a test wants."""

    def __init__(self, lost: str = "") -> None:
        self.lost = lost

    def require(self) -> None:
        """Raise `LeaseLost` where it is lost."""
        if self.lost:
            raise LeaseLost(self.lost)
