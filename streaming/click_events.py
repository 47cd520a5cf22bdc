"""Clickstream objects in S3 (JSON lines) -> `bronze.click_events`.

The stream reads notifications of objects from Kafka, and each batch reads the objects that it names. So objects are
found at constant cost, and the ledger's ranges are offsets as for every other stream.
"""

from __future__ import annotations

from functools import partial

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.contracts.declared import CLICK_FIELDS
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS
from lakehouse.tables.columns import columns
from quality.rules import CLICK_RULES, broken_rules, dropped_by, names_of_warnings, names_where, warnings
from streaming.bronze_writer import BronzeStream
from streaming.click_objects import ClickObjects
from streaming.framing import MAX_BYTES
from streaming.object_reader import FAULTS
from streaming.plain_lines import READ, TEXT_OF
from streaming.writer_schemas import WriterSchemas

STRICT_JSON = {"mode": "PERMISSIVE", "allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
FIELDS = tuple(field.name for field in CLICK_FIELDS)
PARTS = "map<string,map<string,string>>"
MAX_NESTING = 32
"""Default of `settings.max_json_nesting`."""
DEEPEST = 100_000


def stream(settings: Settings) -> BronzeStream:
    """The stream of the landing bucket."""
    return BronzeStream(
        spec=CLICK_EVENTS,
        topics=(settings.click_objects_topic,),
        transform=partial(transform, max_bytes=settings.max_record_bytes, max_nesting=settings.max_json_nesting),
        event_time="timestamp",
        expand=ClickObjects(settings).read_objects,
        # The etag is part of a line's place: an object that was overwritten has other lines.
        origin=("_source_file", "_etag", "_source_line"),
        originals=originals,
        warning_rules=names_of_warnings(CLICK_RULES),
    )


def originals(rejected: DataFrame) -> DataFrame:
    """Rejected rows -> the lines that they were. An object that could not be read has no lines: it keeps its fault,
    until somebody announces it again.
    """
    first = F.get("reasons", 0)
    lines = rejected.select(
        F.col("raw_value").cast("string").alias("value"),
        F.col("origin_position").alias("_source_line"),
        F.when(first.isin(*FAULTS), first).alias("_object_fault"),
        F.col("origin").alias("_source_file"),
        F.col("origin_etag").alias("_etag"),
        "_topic",
        "_partition",
        "_offset",
        F.col("arrived_at").alias("_kafka_at"),
        "_batch_id",
    )
    return unread(lines)


def unread(lines: DataFrame) -> DataFrame:
    """Add what `plain_lines` says of lines, for ones that it did not see: that it read none."""
    declared = {field.name: field.dataType for field in columns(READ)}
    nothing = {name: F.lit(None).cast(kind) for name, kind in declared.items()}
    return lines.withColumns(nothing | {"is_plain": F.lit(False)})


def transform(
    raw: DataFrame, writers: WriterSchemas, max_bytes: int = MAX_BYTES, max_nesting: int = MAX_NESTING
) -> DataFrame:
    """Lines (`object_lines.LINE`) -> the columns of `bronze.click_events` plus `_raw`, `_raw_key`,
    `_reasons`, `_filtered_as`.

    JSON carries no schema id: `writers` is not used, it is there because all streams share one writer.
    """
    del writers
    text = F.col("value")
    read = _read(raw, max_bytes, max_nesting)
    # A blank line carries nothing: it is filtered by name, so that the batch still balances.
    fault = F.col("_object_fault")
    is_blank_line = fault.isNull() & (F.trim(text) == "")
    no_object = F.when(~is_blank_line, _why_no_object(text, max_bytes))
    of_odd_line = F.when(~F.col("is_plain"), _odd_reasons(text))
    repeated = F.when(_repeats_a_key("properties"), F.array(F.lit("duplicate_field")))
    row_reasons = F.coalesce(of_odd_line, repeated, broken_rules(CLICK_RULES))
    is_object = F.col("is_plain") | F.col("members").isNotNull()
    of_line = F.when(is_object, row_reasons).otherwise(no_object)
    judged = read.withColumn("_reasons", F.when(fault.isNotNull(), F.array(fault)).otherwise(of_line))
    is_bad = F.col("_reasons").isNotNull()
    return judged.withColumns(
        {
            "product_id": F.col("properties")["product_id"],
            "event_date": F.to_date("timestamp"),
            "event_hour": F.hour("timestamp"),
            "_unknown_fields": F.when(~F.col("is_plain") & ~is_bad, _unknown_fields()),
            "_raw": F.when(is_bad, text.cast("binary")),
            "_raw_key": F.lit(None).cast("binary"),
            "_filtered_as": F.when(is_blank_line, F.lit("blank_line")).when(~is_bad, dropped_by(CLICK_RULES)),
            "_warnings": F.when(~is_bad, warnings(CLICK_RULES)),
        }
    ).select(*CLICK_EVENTS.columns, "_raw", "_raw_key", "_reasons", "_filtered_as")


def _read(raw: DataFrame, max_bytes: int, max_nesting: int) -> DataFrame:
    """Add the declared fields of lines that are not plain; for plain ones `plain_lines` gave them.

    `members` is the fields of such a line as a map from name to text, null where it is not exactly one object.
    """
    text, is_plain = F.col("value"), F.col("is_plain")
    is_readable = ~is_plain & (F.octet_length(text) <= max_bytes) & F.is_valid_utf8(text)
    split = raw.withColumn("parts", F.when(is_readable, _parts(text, max_nesting)))
    is_one_object = (F.size("parts") == 2) & F.col("parts")["end"].isNotNull()
    named = split.withColumn("members", F.when(is_one_object, F.col("parts")["line"]))
    members = F.col("members")
    texts = {column: F.coalesce(column, members[name]) for name, column in TEXT_OF.items()}
    properties = F.from_json(members["properties"], "map<string,string>", STRICT_JSON)
    return named.withColumns(texts | {"properties": F.coalesce("properties", properties)}).withColumn(
        "timestamp", _moment(F.col("timestamp_text"))
    )


def _parts(text: Column, max_nesting: int) -> Column:
    # Spark's reader stops at the end of the first value: two lines whose line end was lost would be one, silently. So
    # the line is read as a part of a larger object, and must end where that goes on.
    whole = F.concat(F.lit('{"line":'), text, F.lit(',"end":{}}'))
    return F.from_json(whole, PARTS, STRICT_JSON | {"maxNestingDepth": str(max_nesting + 1)})


def _moment(text: Column) -> Column:
    # The cast alone takes `2026` for a date, and a time alone for one of today: a replay would give another answer.
    is_date_and_time = (F.substring(text, 5, 1) == "-") & F.substring(text, 11, 1).isin("T", " ")
    return F.when(is_date_and_time, text.try_cast("timestamp"))


def _odd_reasons(text: Column) -> Column:
    """Of a line that is not plain: fields of another type, fields that come twice; null where it is good."""
    twice = F.when(_repeats_a_key("members"), F.array(F.lit("duplicate_field")))
    return F.coalesce(_wrong_types(text), twice)


def _unknown_fields() -> Column:
    declared = [F.struct(F.lit(name).alias("key"), F.col("members")[name].alias("value")) for name in FIELDS]
    # Not by `map_filter`: one function of higher order and Spark copies every row instead of compiling the stage whole.
    unknown = F.array_except(F.map_entries("members"), F.array(*declared))
    return F.when(F.size(unknown) > 0, F.map_from_entries(unknown))


def _repeats_a_key(column: str) -> Column:
    """Whether a map has a key twice: JSON allows it, and readers of Parquet refuse the file."""
    is_repeated = F.size(F.array_distinct(F.map_keys(column))) < F.size(column)
    return F.coalesce((F.size(column) > 1) & is_repeated, F.lit(False))


def _wrong_types(text: Column) -> Column:
    """Reasons for the declared fields whose JSON type is another, as an array; null where there is none. (Read as text,
    a number or an object is a text like any other.)
    """
    line = F.try_parse_json(text)
    reasons = []
    for field in FIELDS:
        kind = F.schema_of_variant(F.try_variant_get(line, f"$.{field}", "variant"))
        is_right = kind.startswith("OBJECT") if field == "properties" else kind == "STRING"
        reasons.append((~(is_right | (kind == "VOID")), f"wrong_type:{field}"))
    return names_where(reasons)


def _why_no_object(text: Column, max_bytes: int) -> Column:
    parts = _parts(text, DEEPEST)
    return (
        F.when(F.octet_length(text) > max_bytes, F.array(F.lit("oversize")))
        .when(~F.is_valid_utf8(text), F.array(F.lit("invalid_utf8")))
        .when(F.size(parts) == 2, F.array(F.lit("nested_too_deep")))
        .otherwise(F.array(F.lit("malformed_json")))
    )
