"""Debezium's change topics (Avro, Confluent wire format) -> `bronze.<table>_changes`, for any captured table."""

from __future__ import annotations

from functools import partial

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lakehouse.contracts.debezium import TRANSACTION, row_image
from lakehouse.contracts.declared import captured_fields
from lakehouse.contracts.policy import FieldOutcome
from lakehouse.settings import Settings
from lakehouse.tables import CapturedTable
from quality.rules import CHANGE_RULES, names_of_warnings, warnings
from streaming.bronze_writer import BronzeStream
from streaming.counts import JUDGEMENT, has_no_reason
from streaming.framing import MAX_BYTES, contract_reasons, decode_each, ends_well, first_of
from streaming.kafka_source import kafka_origin
from streaming.projection import Plan, misfits, plan, unknown_fields, value_of
from streaming.stamps import moment_of
from streaming.writer_schemas import WriterSchemas

INCARNATION_HEADER = "source_incarnation"


def stream(captured: CapturedTable, settings: Settings) -> BronzeStream:
    """The stream of one captured table."""
    return BronzeStream(
        spec=captured.changes,
        topics=(captured.topic(settings),),
        transform=partial(transform, captured=captured, max_bytes=settings.max_record_bytes),
        event_time="source_at",
        # Connect writes in transactions; their markers use up offsets.
        has_holes=True,
        keeps_partitions=True,
        # They name the incarnation of the source.
        reads_headers=True,
        warning_rules=names_of_warnings(CHANGE_RULES.get(captured.name, ())),
    )


def transform(raw: DataFrame, writers: WriterSchemas, captured: CapturedTable, max_bytes: int = MAX_BYTES) -> DataFrame:
    """Kafka rows -> the columns of `bronze.<table>_changes` plus `_raw`, `_raw_key`, `_raw_headers` and the
    `JUDGEMENT`.

    Rules only warn here: the row is real in Postgres, and Silver must equal it.
    """
    declared = captured_fields(captured)
    values = plan(writers.values, declared, row_of=row_image, has_text_forms=True)
    keys = plan(writers.keys, [one for one in declared if one.name in captured.keys], has_text_forms=True)
    sides = decode_each("value", values.schemas, "value_") | decode_each("key", keys.schemas, "key_")
    decoded = raw.withColumns(sides | kafka_origin(writers.values))
    staged = decoded.withColumns(
        {
            "change": first_of([_change(one, values) for one in values.schemas], _change_type(captured)),
            "key_fields": first_of([_key(one, keys) for one in keys.schemas], captured.key_type.simpleString()),
            "is_whole": ends_well([f"value_{one}" for one in values.schemas]) & (F.length("value") <= max_bytes),
            "is_whole_key": ends_well([f"key_{one}" for one in keys.schemas]),
        }
    )
    is_tombstone = F.col("value").isNull() & F.col("is_whole_key")
    reasons = _reasons(writers, values, keys, max_bytes)
    judged = staged.withColumn("_reasons", F.when(~is_tombstone, reasons))
    flat = judged.select(
        F.col("key_fields").alias("key"),
        *[F.col("change")[name].alias(name) for name in _change_names(captured)],
        _incarnation().alias("source_incarnation"),
        F.col("key").alias("_key"),
        F.col("change")["unknown_fields"].alias("_unknown_fields"),
        *[name for name in captured.changes.columns if name.startswith("_") and name not in _COMPUTED],
        F.when(F.col("_reasons").isNotNull(), F.col("value")).alias("_raw"),
        F.when(F.col("_reasons").isNotNull(), F.col("key")).alias("_raw_key"),
        F.when(F.col("_reasons").isNotNull(), F.col("headers")).alias("_raw_headers"),
        "_reasons",
        F.when(is_tombstone, F.lit("tombstone")).alias("_filtered_as"),
    )
    warned = flat.withColumn("_warnings", warnings(CHANGE_RULES.get(captured.name, ())))
    verdict = warned.withColumn("_is_good", has_no_reason())
    return verdict.select(*captured.changes.columns, *_OF_A_BAD_ROW, *JUDGEMENT)


_COMPUTED = ("_key", "_unknown_fields", "_warnings")
_OF_A_BAD_ROW = ("_raw", "_raw_key", "_raw_headers")


def _change_names(captured: CapturedTable) -> list[str]:
    names = captured.changes.columns
    return names[names.index("op") : names.index("source_incarnation")]


def _change_type(captured: CapturedTable) -> str:
    fields = [captured.changes.schema[name] for name in _change_names(captured)]
    kind = StructType(fields).simpleString().removesuffix(">")
    return f"{kind},unknown_fields:map<string,string>,misfits:array<string>>"


def _incarnation() -> Column:
    header = F.filter(F.col("headers"), lambda one: one["key"] == INCARNATION_HEADER)
    return F.get(header, 0)["value"].cast("string")


def _change(schema_id: int, values: Plan) -> Column:
    value, outcomes = F.col(f"value_{schema_id}")["event"], values.outcomes[schema_id]
    source, sequence = value["source"], value["source"]["sequence"]
    lost = [found for side in ("before", "after") if (found := misfits(value[side], outcomes)) is not None]
    source_at = moment_of(source["ts_ms"])
    lost.append(F.when(source["ts_ms"].isNotNull() & source_at.isNull(), F.array(F.lit("type_does_not_fit:ts_ms"))))
    transaction = _transaction(value, "transaction" in values.records[schema_id].names)
    return F.when(
        value["op"].isNotNull(),
        F.struct(
            value["op"].alias("op"),
            # A delete under REPLICA IDENTITY DEFAULT carries invented values in `before`; only its key is used later.
            _image(value["before"], outcomes).alias("before"),
            _image(value["after"], outcomes).alias("after"),
            # A row that an incremental snapshot read has no change of its own: it stands where the log was then.
            F.coalesce(source["lsn"], F.get_json_object(sequence, "$[1]").try_cast("bigint")).alias("lsn"),
            F.get_json_object(sequence, "$[0]").try_cast("bigint").alias("commit_lsn"),
            sequence.alias("sequence"),
            F.coalesce(transaction["id"], source["txId"].cast("string")).alias("transaction_id"),
            transaction["total_order"].alias("transaction_order"),
            transaction["data_collection_order"].alias("collection_order"),
            source["snapshot"].alias("snapshot"),
            source_at.alias("source_at"),
            F.coalesce(unknown_fields(value["after"], outcomes), unknown_fields(value["before"], outcomes)).alias(
                "unknown_fields"
            ),
            first_of(lost, "array<string>").alias("misfits"),
        ),
    )


def _transaction(value: Column, is_there: bool) -> Column:
    if is_there:
        return value["transaction"]
    return F.lit(None).cast(TRANSACTION)


def _image(record: Column, outcomes: tuple[FieldOutcome, ...]) -> Column:
    """The record with the declared columns; null where there is none."""
    columns = [value_of(record, one).alias(one.name) for one in outcomes if one.declared is not None]
    return F.when(record.isNotNull(), F.struct(*columns))


def _key(schema_id: int, keys: Plan) -> Column:
    """The key's columns; null where one of them is."""
    record = F.col(f"key_{schema_id}")["event"]
    columns = {one.name: value_of(record, one) for one in keys.outcomes[schema_id] if one.declared is not None}
    is_complete = F.lit(True)
    for column in columns.values():
        is_complete = is_complete & column.isNotNull()
    return F.when(is_complete, F.struct(*[column.alias(name) for name, column in columns.items()]))


def _reasons(writers: WriterSchemas, values: Plan, keys: Plan, max_bytes: int) -> Column:
    """Why a change is rejected, as an array; null for one that lands."""
    value, key = F.col("value"), F.col("key")
    value_columns, key_columns = [f"value_{one}" for one in values.schemas], [f"key_{one}" for one in keys.schemas]
    nothing = F.lit(None).cast("array<string>")
    no_key = F.array(F.lit("missing_key"))
    is_truncate = F.coalesce(F.col("change")["op"] == "t", F.lit(False))
    of_value = contract_reasons(value, list(writers.values), values.rejected, value_columns, max_bytes)
    of_key = contract_reasons(key, list(writers.keys), keys.rejected, key_columns, max_bytes)
    is_keyed = F.col("is_whole_key") & F.col("key_fields").isNotNull()
    return (
        F.when(value.isNull() & key.isNotNull(), of_key)
        .when(~F.col("is_whole"), of_value)
        .when(F.col("change").isNull(), F.array(F.lit("undecodable_body")))
        .when(F.col("change")["misfits"].isNotNull(), F.col("change")["misfits"])
        # A truncate has no key by design.
        .when(is_keyed | is_truncate, nothing)
        .when(key.isNull() | F.col("is_whole_key"), no_key)
        .otherwise(of_key)
    )
