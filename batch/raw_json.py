"""Debezium's JSON, with and without the schema/payload wrapper -> the columns of `bronze.<table>_changes`.

All values are read as text first, so that each can be held against its declared type: what does not fit is named, and
never becomes a null.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from batch.left_out import PLACEHOLDER
from lakehouse.tables import CapturedTable

ENVELOPE = "op string, before string, after string, source string, transaction string, ts_ms bigint"
SOURCE = "lsn bigint, sequence string, snapshot string, ts_ms bigint, txId bigint"
TRANSACTION = "id string, total_order bigint, data_collection_order bigint"
OPERATIONS = ("r", "c", "u", "d", "t")
NOT_A_NUMBER = {"NAN": "NaN", "INFINITY": "Infinity", "-INFINITY": "-Infinity"}


def decoded(records: DataFrame, table: CapturedTable) -> DataFrame:
    """Kafka records (key and value as JSON; topic, partition, offset, timestamp; headers where there are some) -> the
    columns of `bronze.<table>_changes` but those of the batch, plus `_raw`, `_reasons` (why a record is no change of
    this table, null for one that is; those that it has already stay) and `_is_tombstone`.
    """
    text = {"_value_text": _payload("value"), "_key_text": _payload("key")}
    opened = records.withColumns(text).withColumn("_envelope", F.from_json("_value_text", ENVELOPE))
    envelope = F.col("_envelope")
    parts = opened.withColumns(
        {
            "_source": F.from_json(envelope["source"], SOURCE),
            "_transaction": F.from_json(envelope["transaction"], TRANSACTION),
            "_key_row": _row(F.col("_key_text"), [table.columns[name] for name in table.keys], table, "key", "$"),
            "_before_row": _row(envelope["before"], list(table.columns), table, "value", "$.before"),
            "_after_row": _row(envelope["after"], list(table.columns), table, "value", "$.after"),
        }
    )
    raw = F.col("raw" if "raw" in records.columns else "value").cast("binary").alias("_raw")
    found = _reasons(table)
    if "_reasons" in records.columns:
        found = F.coalesce("_reasons", found)
    return parts.select(*_columns(table, records.columns), raw, found.alias("_reasons"), _is_tombstone())


def _payload(name: str) -> Column:
    text = F.col(name).cast("string")
    payload = F.get_json_object(text, "$.payload")
    # The wrapper has exactly these two; a table may have a column of either name.
    is_wrapped = F.coalesce(
        F.array_sort(F.json_object_keys(text)) == F.array(F.lit("payload"), F.lit("schema")), F.lit(False)
    )
    return F.when(is_wrapped, payload).otherwise(text)


def _is_tombstone() -> Column:
    return (F.col("value").isNull() & F.col("key").isNotNull()).alias("_is_tombstone")


def _columns(table: CapturedTable, given: Iterable[str]) -> list[Column]:
    envelope, source, transaction = F.col("_envelope"), F.col("_source"), F.col("_transaction")
    header = F.lit(None).cast("string")
    if "headers" in given:
        found = F.filter(F.col("headers"), lambda one: one["key"] == "source_incarnation")
        header = F.get(found, 0)["value"].cast("string")
    is_keyed = reduce(Column.__and__, [F.col("_key_row")[name]["value"].isNotNull() for name in table.keys])
    at = F.coalesce(source["ts_ms"], envelope["ts_ms"])
    values = {
        "key": F.when(is_keyed, _values(F.col("_key_row"), [table.columns[name] for name in table.keys])),
        "op": envelope["op"],
        "before": F.when(envelope["before"].isNotNull(), _values(F.col("_before_row"), list(table.columns))),
        "after": F.when(envelope["after"].isNotNull(), _values(F.col("_after_row"), list(table.columns))),
        # A row that an incremental snapshot read has no change of its own: it stands where the log was then.
        "lsn": F.coalesce(source["lsn"], F.get_json_object(source["sequence"], "$[1]").try_cast("bigint")),
        "commit_lsn": F.get_json_object(source["sequence"], "$[0]").try_cast("bigint"),
        "sequence": source["sequence"],
        "transaction_id": F.coalesce(transaction["id"], source["txId"].cast("string")),
        "transaction_order": transaction["total_order"],
        "collection_order": transaction["data_collection_order"],
        "snapshot": source["snapshot"],
        "source_at": F.coalesce(F.timestamp_millis(at), F.col("timestamp")),
        "source_incarnation": header,
        "_key": F.col("key").cast("binary"),
        "_topic": F.col("topic"),
        "_partition": F.col("partition"),
        "_offset": F.col("offset"),
        "_kafka_at": F.col("timestamp"),
        "_unknown_fields": _unknown_fields(table),
    }
    schema = table.changes.schema
    return [values[field.name].cast(field.dataType).alias(field.name) for field in schema if field.name in values]


def _reasons(table: CapturedTable) -> Column:
    """The first of these that applies; a row's own misfits all."""
    envelope, op = F.col("_envelope"), F.col("_envelope")["op"]
    after = [F.col("_after_row")[name] for name in table.columns.names]
    misfits = [F.when(one["misfit"].isNotNull(), one["misfit"]) for one in after]
    key_misfits = [F.col("_key_row")[name]["misfit"] for name in table.keys]

    def because(reason: str) -> Column:
        return F.array(F.lit(reason))

    named = F.array_compact(F.array(*misfits))
    has_row = op.isin("r", "c", "u")
    return (
        F.when(F.col("value").isNull() & F.col("key").isNull(), because("null_value"))
        .when(F.col("value").isNull(), F.lit(None).cast("array<string>"))
        .when(envelope.isNull() | op.isNull(), because("undecodable_body"))
        .when(~op.isin(*OPERATIONS), because("unknown_operation"))
        .when(has_row & envelope["after"].isNull(), because("missing_row"))
        .when(has_row & F.col("_after_row").isNull(), because("undecodable_body"))
        .when(has_row & (F.size(named) > 0), named)
        .when((op != "t") & F.coalesce(*key_misfits).isNotNull(), F.array_compact(F.array(*key_misfits)))
    )


def _unknown_fields(table: CapturedTable) -> Column:
    declared = [*table.columns.names, *table.old_names]
    every = F.from_json(F.coalesce(F.col("_envelope")["after"], F.col("_envelope")["before"]), "map<string,string>")
    unknown = F.map_filter(every, lambda name, _: ~name.isin(*declared))
    return F.when(F.size(unknown) > 0, unknown)


def _row(text: Column, fields: list[StructField], table: CapturedTable, side: str, path: str) -> Column:
    """Each field as struct<value, misfit>; `misfit` is the reason why there is no value where there should be one.

    `path` is the row's place in the record's `side` (key or value), for values that its text has lost.
    """
    old = {name: old_name for old_name, name in table.old_names.items()}
    sent = StructType(
        [StructField(name, StringType()) for field in fields for name in (field.name, old.get(field.name)) if name]
    )
    parsed, names = F.from_json(text, sent), F.json_object_keys(text)
    row = []
    for field in fields:
        found = parsed[field.name]
        is_there = F.array_contains(names, field.name)
        if field.name in old:
            found = F.coalesce(found, parsed[old[field.name]])
            is_there = is_there | F.array_contains(names, old[field.name])
        if isinstance(field.dataType, DecimalType):
            found = F.coalesce(_exact(side, path, field.name), found)
        value = F.when(found == PLACEHOLDER, _placeholder(field.dataType)).otherwise(converted(found, field.dataType))
        is_lost = found.isNotNull() & value.isNull()
        misfit = F.when(is_lost, F.lit(f"type_does_not_fit:{field.name}"))
        if field.name not in table.may_be_missing:
            misfit = F.when(~F.coalesce(is_there, F.lit(False)), F.lit(f"missing_field:{field.name}")).otherwise(misfit)
        row.append(F.struct(value.alias("value"), misfit.alias("misfit")).alias(field.name))
    return F.when(text.isNotNull() & names.isNotNull(), F.struct(*row))


def _exact(side: str, path: str, name: str) -> Column:
    """A number as it was sent: Spark's JSON reader takes it through a double, which has 15 digits."""
    if not name.isidentifier():
        return F.lit(None).cast("string")
    sent = F.try_parse_json(F.col(side).cast("string"))
    wrapped = F.try_variant_get(sent, f"{path.replace('$', '$.payload', 1)}.{name}", "string")
    return F.coalesce(wrapped, F.try_variant_get(sent, f"{path}.{name}", "string"))


def _values(row: Column, fields: list[StructField]) -> Column:
    return F.struct(*[row[field.name]["value"].alias(field.name) for field in fields])


def _placeholder(kind: DataType) -> Column:
    # The placeholder of a text is the text itself; those of other types have their type's own form.
    return F.lit(PLACEHOLDER) if isinstance(kind, StringType) else F.lit(None).cast(kind)


def converted(text: Column, kind: DataType) -> Column:
    """A value in one of the forms that Debezium gives it in JSON -> its declared type; null where it does not fit."""
    if isinstance(kind, StringType):
        return text
    if isinstance(kind, DecimalType):
        return _decimal(text, kind)
    if isinstance(kind, DoubleType | FloatType):
        spelled = reduce(
            lambda found, pair: F.when(F.upper(text) == pair[0], F.lit(pair[1])).otherwise(found),
            NOT_A_NUMBER.items(),
            text,
        )
        return spelled.try_cast(kind)
    if isinstance(kind, DateType):
        days = text.try_cast("int")
        return F.coalesce(F.date_from_unix_date(days), F.regexp_replace(text, "Z$", "").try_cast("date"))
    if isinstance(kind, TimestampType):
        return F.coalesce(_moment(text), text.try_cast("timestamp"))
    if isinstance(kind, TimestampNTZType):
        zoned = F.coalesce(_moment(text), text.try_cast("timestamp"))
        return F.coalesce(F.regexp_replace(text, "Z$", "").try_cast(kind), zoned.cast(kind))
    if isinstance(kind, BinaryType):
        return F.try_to_binary(text, F.lit("base64"))
    if isinstance(kind, IntegerType | LongType | ShortType):
        return text.try_cast(kind)
    if isinstance(kind, ArrayType):
        return _array(text, kind)
    if isinstance(kind, StructType):
        return _struct(text, kind)
    if isinstance(kind, MapType):
        return _map(text, kind)
    return text.try_cast(kind)


def _decimal(text: Column, kind: DecimalType) -> Column:
    value = text.try_cast(kind)
    # A cast rounds away digits that the column has no place for.
    exact = text.try_cast(DecimalType(38, min(38, kind.scale + 6)))
    plain = F.when(exact == value, value)
    # `decimal.handling.mode=precise`: the bytes of the unscaled number, in base64.
    unscaled = F.hex(F.try_to_binary(text, F.lit("base64")))
    digits = F.conv(unscaled, 16, 10).try_cast("decimal(38,0)")
    bits = F.length(unscaled) * 4
    signed = F.when(
        F.conv(F.substring(unscaled, 1, 1), 16, 10).cast("int") >= 8,
        digits - F.pow(F.lit(2), bits).cast("decimal(38,0)"),
    ).otherwise(digits)
    is_text = text.rlike(r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$")
    scaled = (signed / F.lit(10**kind.scale).cast("decimal(38,0)")).try_cast(kind)
    return F.when(is_text, plain).otherwise(F.when(bits <= 60, scaled))


def _moment(text: Column) -> Column:
    """An epoch number: days to nanoseconds differ by so much that the size tells the unit (1973 to 5138)."""
    number = text.try_cast("bigint")
    size = F.abs(number)
    return (
        F.when(size < 10**11, F.timestamp_seconds(number))
        .when(size < 10**14, F.timestamp_millis(number))
        .when(size < 10**17, F.timestamp_micros(number))
        .when(number.isNotNull(), F.timestamp_micros(F.call_function("div", number, F.lit(1000))))
    )


def _array(text: Column, kind: ArrayType) -> Column:
    items = F.from_json(text, "array<string>")
    found = F.transform(items, lambda one: converted(one, kind.elementType))
    lost = F.exists(
        F.arrays_zip(items.alias("sent"), found.alias("found")),
        lambda one: one["sent"].isNotNull() & one["found"].isNull(),
    )
    return F.when(~lost, found)


def _struct(text: Column, kind: StructType) -> Column:
    sent = F.from_json(text, StructType([StructField(one.name, StringType()) for one in kind]))
    found = {one.name: converted(sent[one.name], one.dataType) for one in kind}
    lost = [sent[name].isNotNull() & value.isNull() for name, value in found.items()]
    is_whole = F.json_object_keys(text).isNotNull() & ~reduce(Column.__or__, lost)
    return F.when(is_whole, F.struct(*[value.alias(name) for name, value in found.items()]))


def _map(text: Column, kind: MapType) -> Column:
    sent = F.from_json(text, "map<string,string>")
    found = F.transform_values(sent, lambda _, one: converted(one, kind.valueType))
    lost = F.map_filter(found, lambda name, one: one.isNull() & sent[name].isNotNull())
    return F.when(F.json_object_keys(text).isNotNull() & (F.size(lost) == 0), found.cast(kind))
