"""Debezium's change topics (Avro, Confluent wire format) -> `bronze.<table>_changes`, for any captured table."""

from __future__ import annotations

from functools import partial

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DateType, StructType

from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable
from streaming.bronze_writer import BronzeStream
from streaming.framing import decode_each, first_match, has_schema, is_framed
from streaming.kafka_source import with_kafka_origin
from streaming.writer_schemas import WriterSchemas

INCARNATION_HEADER = "source_incarnation"


def stream(captured: CapturedTable, settings: Settings) -> BronzeStream:
    """The stream of one captured table."""
    return BronzeStream(
        spec=captured.changes,
        topics=(captured.topic(settings),),
        transform=partial(transform, captured=captured),
        event_time="source_at",
        # Connect writes in transactions; their markers use up offsets.
        has_holes=True,
    )


def transform(raw: DataFrame, writers: WriterSchemas, captured: CapturedTable) -> DataFrame:
    """Kafka rows -> the columns of `bronze.<table>_changes` plus `_raw`, `_raw_key`, `_reasons`, `_filtered_as`.

    Business rules are not asked here: the row is real in Postgres, and Silver must equal it.
    """
    with_values = decode_each(raw, "value", writers.values, "value_")
    decoded = with_kafka_origin(decode_each(with_values, "key", writers.keys, "key_"), writers.values)
    shape = _change_type(captured)
    change = {one: _project(decoded, f"value_{one}", captured) for one in writers.values}
    types = decoded.schema
    key = {
        one: _fitted(F.col(f"key_{one}"), _record(types[f"key_{one}"].dataType), captured.key_type)
        for one in writers.keys
    }
    staged = decoded.withColumns(
        {
            "change": first_match("value", writers.values, change, F.lit(None).cast(shape)),
            "key_fields": first_match("key", writers.keys, key, F.lit(None).cast(captured.key_type)),
        }
    )
    judged = staged.withColumns({"_reasons": _reasons(writers), "_filtered_as": _filtered_as()})
    return judged.select(
        F.col("key_fields").alias("key"),
        *[F.col("change")[name].alias(name) for name in shape.names if name != "misfits"],
        _incarnation().alias("source_incarnation"),
        F.col("key").alias("_key"),
        *[name for name in captured.changes.columns if name.startswith("_") and name != "_key"],
        F.when(F.col("_reasons").isNotNull(), F.col("value")).alias("_raw"),
        F.when(F.col("_reasons").isNotNull(), F.col("key")).alias("_raw_key"),
        "_reasons",
        "_filtered_as",
    )


def _change_type(captured: CapturedTable) -> StructType:
    names = captured.changes.columns
    fields = [captured.changes.schema[name] for name in names[names.index("op") : names.index("source_incarnation")]]
    return StructType(fields).add("misfits", "boolean")


def _incarnation() -> Column:
    header = F.filter(F.col("headers"), lambda one: one["key"] == INCARNATION_HEADER)
    return F.get(header, 0)["value"].cast("string")


def _project(frame: DataFrame, column: str, captured: CapturedTable) -> Column:
    envelope = frame.schema[column].dataType
    assert isinstance(envelope, StructType), f"{column} is no record: not an envelope of Debezium"
    value = F.col(column)
    if not {"op", "source", "before", "after"} <= set(envelope.names):
        return F.lit(None).cast(_change_type(captured))
    before, after = (_record(envelope[name].dataType) for name in ("before", "after"))
    source, transaction = value["source"], value["transaction"]
    sequence = source["sequence"]
    misfits = _misfits(value["before"], before, captured.columns) | _misfits(value["after"], after, captured.columns)
    return F.when(
        value["op"].isNotNull(),
        F.struct(
            value["op"].alias("op"),
            # A delete under REPLICA IDENTITY DEFAULT carries invented values in `before`; only its key is used later.
            _fitted(value["before"], before, captured.columns).alias("before"),
            _fitted(value["after"], after, captured.columns).alias("after"),
            source["lsn"].alias("lsn"),
            F.get_json_object(sequence, "$[0]").try_cast("bigint").alias("commit_lsn"),
            sequence.alias("sequence"),
            F.coalesce(transaction["id"], source["txId"].cast("string")).alias("transaction_id"),
            transaction["total_order"].alias("transaction_order"),
            transaction["data_collection_order"].alias("collection_order"),
            source["snapshot"].alias("snapshot"),
            F.timestamp_millis(source["ts_ms"]).alias("source_at"),
            misfits.alias("misfits"),
        ),
    )


def _record(found: DataType) -> StructType:
    assert isinstance(found, StructType), f"{found.simpleString()} is no record"
    return found


def _fitted(record: Column, found: StructType, wanted: StructType) -> Column:
    """The record with the wanted columns by name: cast where types differ, null where one is missing."""
    fields = [
        (
            _cast(record[field.name], field.dataType) if field.name in found.names else F.lit(None).cast(field.dataType)
        ).alias(field.name)
        for field in wanted
    ]
    return F.when(record.isNotNull(), F.struct(*fields))


def _cast(value: Column, wanted: DataType) -> Column:
    # Debezium's ISO dates end in Z, which the cast does not take.
    text = F.regexp_replace(value, "Z$", "") if isinstance(wanted, DateType) else value
    return text.try_cast(wanted)


def _misfits(record: Column, found: StructType, wanted: StructType) -> Column:
    """Whether a value was there and did not survive the cast: never a silent null."""
    any_lost = F.lit(False)
    for field in wanted:
        if field.name in found.names and found[field.name].dataType != field.dataType:
            value = record[field.name]
            any_lost = any_lost | (value.isNotNull() & _cast(value, field.dataType).isNull())
    return F.coalesce(any_lost, F.lit(False))


def _is_truncate() -> Column:
    return F.coalesce(F.col("change")["op"] == "t", F.lit(False))


def _reasons(writers: WriterSchemas) -> Column:
    """The first reason that applies, as an array; null for a good row. A tombstone (null value) is not judged."""
    value, key = F.col("value"), F.col("key")

    def reason(name: str) -> Column:
        return F.array(F.lit(name))

    return (
        F.when(value.isNull() & key.isNotNull(), F.lit(None).cast("array<string>"))
        .when(value.isNull(), reason("null_value"))
        .when(~is_framed(value), reason("bad_framing"))
        .when(~has_schema(value, list(writers.values)), reason("unknown_schema_id"))
        .when(F.col("change").isNull(), reason("undecodable_body"))
        .when(F.col("change")["misfits"], reason("type_does_not_fit"))
        # A truncate has no key by design.
        .when(_is_truncate(), F.lit(None).cast("array<string>"))
        .when(key.isNull(), reason("missing_key"))
        .when(~is_framed(key), reason("bad_framing"))
        .when(~has_schema(key, list(writers.keys)), reason("unknown_schema_id"))
        .when(F.col("key_fields").isNull(), reason("missing_key"))
    )


def _filtered_as() -> Column:
    return F.when(F.col("value").isNull() & F.col("key").isNotNull(), F.lit("tombstone"))
