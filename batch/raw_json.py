"""Debezium's JSON, with and without the schema/payload wrapper -> the columns of `bronze.<table>_changes`.

All values are read as text first, so that each can be held against its declared type: what does not fit is named, and
never becomes a null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DecimalType, StringType, StructField, StructType

from batch import sent_forms
from batch.json_values import converted, needs_form
from batch.left_out import HSTORE_PLACEHOLDER, PLACEHOLDER, placeholder
from batch.sent_forms import TEXT, Form
from lakehouse.tables import CapturedTable

ENVELOPE = "op string, before string, after string, source string, transaction string, ts_ms bigint"
SOURCE = "lsn bigint, sequence string, snapshot string, ts_ms bigint, txId bigint"
TRANSACTION = "id string, total_order bigint, data_collection_order bigint"
OPERATIONS = ("r", "c", "u", "d", "t")


def decoded(records: DataFrame, table: CapturedTable, sent_as: Mapping[str, str]) -> DataFrame:
    """Kafka records (key and value as JSON; topic, partition, offset, timestamp; headers where there are some) -> the
    columns of `bronze.<table>_changes` but those of the batch, plus `_raw`, `_reasons` (why a record is no change of
    this table, null for one that is; those that it has already stay) and `_is_tombstone`. `sent_as`: the form of the
    values of a column, for records that come without their schema (`batch.sent_forms`).
    """
    key_fields = [table.columns[name] for name in table.keys]
    text = {"_value_text": _payload("value"), "_key_text": _payload("key")}
    opened = records.withColumns(text).withColumn("_envelope", F.from_json("_value_text", ENVELOPE))
    opened = opened.withColumns({f"_{side}_sent": sent_forms.provided(side) for side in ("key", "value")})
    envelope = F.col("_envelope")
    parts = opened.withColumns(
        {
            "_source": F.from_json(envelope["source"], SOURCE),
            "_transaction": F.from_json(envelope["transaction"], TRANSACTION),
            "_key_row": _row(F.col("_key_text"), key_fields, table, sent_as, "$"),
            "_before_row": _row(envelope["before"], list(table.columns), table, sent_as, "$.before"),
            "_after_row": _row(envelope["after"], list(table.columns), table, sent_as, "$.after"),
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


def _row(
    text: Column, fields: list[StructField], table: CapturedTable, sent_as: Mapping[str, str], path: str
) -> Column:
    """Each field as struct<value, misfit>; `misfit` is the reason why there is no value where there should be one.

    `path` is the row's place in the record's value, or `$` for its key.
    """
    side = "key" if path == "$" else "value"
    old = {name: old_name for old_name, name in table.old_names.items()}
    sent = StructType(
        [StructField(name, StringType()) for field in fields for name in (field.name, old.get(field.name)) if name]
    )
    parsed, names = F.from_json(text, sent), F.json_object_keys(text)
    row = []
    for field in fields:
        names_of = tuple(name for name in (field.name, old.get(field.name)) if name)
        found = F.coalesce(*[parsed[name] for name in names_of])
        is_there = reduce(Column.__or__, [F.array_contains(names, name) for name in names_of])
        form = sent_forms.form_of(F.col(f"_{side}_sent"), field, names_of, sent_as.get(field.name))
        if isinstance(field.dataType, DecimalType):
            found, form = _exact(side, path, names_of, found, form)
        is_left_out = _is_left_out(found, field.dataType)
        value = F.when(is_left_out, _placeholder(field.dataType)).otherwise(converted(found, field.dataType, form))
        is_lost = found.isNotNull() & value.isNull()
        lost = (
            F.when(is_left_out, "value_left_out")
            .when(needs_form(found, field.dataType, form), "form_not_known")
            .otherwise("type_does_not_fit")
        )
        misfit = F.when(is_lost, F.concat(lost, F.lit(f":{field.name}")))
        if field.name not in table.may_be_missing:
            misfit = F.when(~F.coalesce(is_there, F.lit(False)), F.lit(f"missing_field:{field.name}")).otherwise(misfit)
        row.append(F.struct(value.alias("value"), misfit.alias("misfit")).alias(field.name))
    return F.when(text.isNotNull() & names.isNotNull(), F.struct(*row))


def _exact(side: str, path: str, names: tuple[str, ...], found: Column, form: Form) -> tuple[Column, Form]:
    """A decimal as it was sent, and its form: Spark's JSON reader takes a number through a double, which has 15 digits,
    and does not say whether there were quotation marks.
    """
    if not (known := [name for name in names if name.isidentifier()]):
        return found, form
    sent = F.try_parse_json(F.col(side).cast("string"))
    rows = (path.replace("$", "$.payload", 1), path)
    value = F.coalesce(*[F.try_variant_get(sent, f"{row}.{name}", "variant") for row in rows for name in known])
    is_number = ~F.schema_of_variant(value).rlike("^(STRING|OBJECT)")
    exact = F.coalesce(F.try_variant_get(value, "$", "string"), found)
    return exact, Form(F.when(is_number, TEXT).otherwise(form.name), form.scale)


def _values(row: Column, fields: list[StructField]) -> Column:
    return F.struct(*[row[field.name]["value"].alias(field.name) for field in fields])


def _is_left_out(text: Column, kind: DataType) -> Column:
    # As a struct an hstore's placeholder would be one without values; other types know theirs when they are read.
    return text.isin(PLACEHOLDER, HSTORE_PLACEHOLDER) if isinstance(kind, StructType) else text == PLACEHOLDER


def _placeholder(kind: DataType) -> Column:
    # A jsonb is left out as a text, whatever type its column is declared as.
    found = placeholder(kind)
    return F.lit(None).cast(kind) if found is None else found
