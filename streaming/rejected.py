"""Rejected rows of a batch -> `ops.quarantine/<stream>`, once, with their original bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse import positions as bronze_positions
from lakehouse.append import Append, KnownPositions
from lakehouse.errors import LakehouseError
from lakehouse.kafka_offsets import TopicLog
from lakehouse.ledger_entry import Entry
from lakehouse.settings import Settings
from lakehouse.tables import quarantine_of
from quality import rules
from streaming import continuity

if TYPE_CHECKING:
    from streaming.bronze_writer import BronzeStream


class BatchChanged(LakehouseError):
    """A batch that was cut off between its two targets is judged otherwise now."""

    def __init__(self, stream: str, batch: int, before: int, now: int) -> None:
        super().__init__(
            f"Batch {batch} of {stream} was cut off after {before} of its rows had gone to the quarantine; the code of "
            f"now would reject {now}. Nothing was written. Let the version of before finish this batch, then start "
            "this one."
        )


@dataclass(frozen=True)
class Group:
    """Rows of one batch that share their reasons and their filter."""

    reasons: list[str] | None
    filtered_as: str | None
    rows: int


def by_name(aside: DataFrame) -> list[Group]:
    """The rows that do not go to Bronze, counted by their reasons and by the name that filtered them."""
    grouped = aside.groupBy(F.col("_reasons").alias("reasons"), F.col("_filtered_as").alias("filtered_as"))
    return [Group(**row.asDict()) for row in grouped.agg(F.count(F.lit(1)).alias("rows")).collect()]


def commit(
    aside: DataFrame,
    stream: BronzeStream,
    settings: Settings,
    entry: Entry,
    logs: Mapping[str, TopicLog],
    known: KnownPositions,
) -> None:
    """Append the rejected rows of a batch, without those that the quarantine already holds. Raises `BatchChanged`.

    It holds some already when a driver died between the two targets: then its positions are ahead of Bronze's.
    """
    spark = aside.sparkSession
    spec = quarantine_of(stream.spec.table)
    delta_io.ensure(spark, spec, settings)
    append = Append(spark, spec, settings)
    held = bronze_positions.places(known.at(append))
    began = continuity.begins(entry.ranges, logs)
    rows = _rows(aside.where(F.col("_reasons").isNotNull()), stream, logs)
    ahead = {place: held[place] for place, begin in began.items() if held.get(place, begin) > begin}
    if ahead:
        is_held = is_before(ahead)
        recorded = delta_io.read(spark, spec, settings).where(is_held & ~is_before(began)).count()
        now = rows.where(is_held).count()
        if recorded != now:
            raise BatchChanged(stream.spec.table, entry.batch_id, recorded, now)
        rows = rows.where(~is_held)
    append.write(rows)
    ends = bronze_positions.applications(continuity.ends(entry.ranges, logs))
    known.commit(append, {f"{spec.name}/{entry.query_id}": entry.batch_id} | ends, entry.to_json())


def is_before(positions: bronze_positions.Positions) -> Column:
    """Whether a row came from an offset below the position of its partition."""
    each = [
        (F.col("_topic") == place.topic) & (F.col("_partition") == place.partition) & (F.col("_offset") < position)
        for place, position in positions.items()
    ]
    return reduce(Column.__or__, each, F.lit(False))


def _rows(rejected: DataFrame, stream: BronzeStream, logs: Mapping[str, TopicLog]) -> DataFrame:
    """Judged rows -> the columns of `ops.quarantine/<stream>`."""
    place, partition, position = (F.col(name) if name else F.lit(None) for name in stream.origin)
    name, columns = stream.spec.table, set(rejected.columns)
    # A topic that was made again begins at offset 0 again: its id keeps the ids of rows apart.
    topic_ids = F.create_map(*[F.lit(text) for topic, log in logs.items() for text in (topic, log.topic_id)])
    identity: list[Column] = [
        F.lit(name),
        topic_ids[F.col("_topic")],
        place,
        F.coalesce(partition.cast("string"), F.lit("")),
        position.cast("string"),
    ]

    def where_known(column: str, kind: str) -> Column:
        return F.col(column) if column in columns else F.lit(None).cast(kind)

    return rejected.select(
        F.sha2(F.concat_ws("\x1f", *identity), 256).substr(1, 16).alias("quarantine_id"),
        F.lit(name).alias("stream"),
        F.lit("bronze").alias("stage"),
        F.col("_reasons").alias("reasons"),
        F.lit(rules.VERSION).alias("rule_version"),
        F.col("_raw_key").alias("raw_key"),
        F.col("_raw").alias("raw_value"),
        where_known("_raw_headers", "array<struct<key:string,value:binary>>").alias("raw_headers"),
        where_known("_schema_id", "int").alias("schema_id"),
        place.alias("origin"),
        where_known("_etag", "string").alias("origin_etag"),
        partition.cast("int").alias("origin_partition"),
        position.cast("bigint").alias("origin_position"),
        F.col("_kafka_at" if "_kafka_at" in columns else "_ingested_at").alias("arrived_at"),
        "_topic",
        "_partition",
        "_offset",
        "_ingested_at",
        "_batch_id",
    )
