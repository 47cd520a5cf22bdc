"""Rejected rows of a batch -> `ops.quarantine/<stream>`, once, with their original bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse import positions as bronze_positions
from lakehouse.append import Append, KnownPositions
from lakehouse.kafka_offsets import TopicLog
from lakehouse.ledger_entry import Entry, OffsetRange
from lakehouse.settings import Settings
from lakehouse.tables import quarantine_of
from quality import rules
from streaming import continuity

if TYPE_CHECKING:
    from streaming.bronze_writer import BronzeStream


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


def of_an_earlier_try(
    spark: SparkSession,
    stream: BronzeStream,
    settings: Settings,
    ranges: Sequence[OffsetRange],
    logs: Mapping[str, TopicLog],
    known: KnownPositions,
) -> DataFrame | None:
    """The rows (`quarantine_id`, `reasons`) of a batch that the quarantine holds and Bronze does not: a driver died
    between the two. None where it has seen nothing of the batch.
    """
    spec = quarantine_of(stream.spec.table)
    # Once for a driver: whatever commits to the quarantine later is the driver itself.
    held = known.newest
    if held is None:
        held = known.at(Append(spark, spec, settings))
    ahead = _ahead(bronze_positions.places(held), ranges, logs)
    return _recorded(delta_io.read(spark, spec, settings), stream, ahead, logs) if ahead else None


def as_then(judged: DataFrame, recorded: DataFrame, stream: BronzeStream, logs: Mapping[str, TopicLog]) -> DataFrame:
    """Judged rows, of which those that are recorded stay rejected for the reasons of then.

    What was missing then may be there now (a schema, a rule of another version), and a row is in one place.
    """
    then = recorded.select(F.col("quarantine_id").alias("_quarantine_id"), F.col("reasons").alias("_then"))
    named = judged.withColumn("_quarantine_id", _identity_of_judged(stream, logs))
    joined = named.join(F.broadcast(then), on="_quarantine_id", how="left")
    was_not = F.col("_then").isNull()
    stays = {"_reasons": F.coalesce("_then", "_reasons"), "_is_good": F.col("_is_good") & was_not}
    return joined.withColumns(stays).select(*judged.columns)


def vanished(recorded: DataFrame, judged: DataFrame, stream: BronzeStream, logs: Mapping[str, TopicLog]) -> list[Group]:
    """The recorded rows that the source does not give any more (of an object that is gone, for one), by reasons."""
    seen = judged.select(_identity_of_judged(stream, logs).alias("quarantine_id"))
    grouped = recorded.join(seen, on="quarantine_id", how="left_anti").groupBy("reasons")
    rows = grouped.agg(F.count(F.lit(1)).alias("rows")).collect()
    return [Group(row["reasons"], None, row["rows"]) for row in rows]


def commit(
    aside: DataFrame,
    recorded: DataFrame | None,
    stream: BronzeStream,
    settings: Settings,
    entry: Entry,
    logs: Mapping[str, TopicLog],
    known: KnownPositions,
) -> None:
    """Append the rejected rows of a batch, without those that are `recorded`."""
    spark = aside.sparkSession
    spec = quarantine_of(stream.spec.table)
    delta_io.ensure(spark, spec, settings)
    append = Append(spark, spec, settings)
    rows = _rows(aside.where(F.col("_reasons").isNotNull()), stream, logs)
    append.write(rows if recorded is None else rows.join(recorded, on="quarantine_id", how="left_anti"))
    # The batch that was cut off may have ended behind this one: what it rejected there still counts as held.
    held = bronze_positions.places(known.at(append))
    ends = {place: max(end, held.get(place, end)) for place, end in continuity.ends(entry.ranges, logs).items()}
    moved = bronze_positions.applications(ends)
    known.commit(append, {f"{spec.name}/{entry.query_id}": entry.batch_id} | moved, entry.to_json())


def _ahead(
    held: bronze_positions.Positions, ranges: Sequence[OffsetRange], logs: Mapping[str, TopicLog]
) -> list[OffsetRange]:
    """The ranges of a batch of which the quarantine has seen a part."""
    begins = zip(ranges, continuity.begins(ranges, logs).items(), strict=True)
    return [one for one, (place, begin) in begins if held.get(place, begin) > begin]


def _recorded(
    quarantine: DataFrame, stream: BronzeStream, ranges: Sequence[OffsetRange], logs: Mapping[str, TopicLog]
) -> DataFrame:
    """The rows that the quarantine holds of these ranges: `quarantine_id`, `reasons`."""
    in_each = [
        (F.col("_topic") == one.topic)
        & (F.col("_partition") == one.partition)
        & F.col("_offset").between(one.from_offset, one.to_offset - 1)
        for one in ranges
    ]
    # A row of an earlier topic of the same name can have the same place; its id is another one.
    partition = F.coalesce("origin_etag", F.col("origin_partition").cast("string"))
    now = _identity(stream, logs, F.col("arrived_at"), F.col("origin"), partition, F.col("origin_position"))
    is_recorded = reduce(Column.__or__, in_each) & (F.col("quarantine_id") == now)
    return quarantine.where(is_recorded).select("quarantine_id", "reasons")


def is_before(positions: bronze_positions.Positions) -> Column:
    """Whether a row came from an offset below the position of its partition."""
    each = [
        (F.col("_topic") == place.topic) & (F.col("_partition") == place.partition) & (F.col("_offset") < position)
        for place, position in positions.items()
    ]
    return reduce(Column.__or__, each, F.lit(False))


def _identity(
    stream: BronzeStream,
    logs: Mapping[str, TopicLog],
    arrived_at: Column,
    place: Column,
    partition: Column,
    position: Column,
) -> Column:
    """The id of a rejected row, always the same for the same row."""
    # A topic that was made again begins at offset 0, and one that lost its end gives offsets out again: its id and
    # the time keep the ids of rows apart. An object that was not read may be announced, and not be read, again.
    topic_ids = F.create_map(*[F.lit(text) for topic, log in logs.items() for text in (topic, log.topic_id)])
    record = (topic_ids[F.col("_topic")], F.col("_partition"), F.col("_offset"), F.unix_millis(arrived_at))
    parts = (F.lit(stream.spec.table), *record, place, partition, position)
    texts = [F.coalesce(one.cast("string"), F.lit("")) for one in parts]
    return F.sha2(F.concat_ws("\x1f", *texts), 256).substr(1, 16)


def _identity_of_judged(stream: BronzeStream, logs: Mapping[str, TopicLog]) -> Column:
    place, partition, position = (F.col(name) if name else F.lit(None) for name in stream.origin)
    return _identity(stream, logs, F.col("_kafka_at"), place, partition, position)


def _rows(rejected: DataFrame, stream: BronzeStream, logs: Mapping[str, TopicLog]) -> DataFrame:
    """Judged rows -> the columns of `ops.quarantine/<stream>`."""
    place, partition, position = (F.col(name) if name else F.lit(None) for name in stream.origin)
    name, columns = stream.spec.table, set(rejected.columns)

    def where_known(column: str, kind: str) -> Column:
        return F.col(column) if column in columns else F.lit(None).cast(kind)

    return rejected.select(
        _identity_of_judged(stream, logs).alias("quarantine_id"),
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
        F.col("_kafka_at").alias("arrived_at"),
        "_topic",
        "_partition",
        "_offset",
        "_ingested_at",
        "_batch_id",
    )
