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
from quality.rules import CLICK_RULES, broken_rules, dropped_by, names_of_warnings, names_where, warnings
from streaming.bronze_writer import BronzeStream
from streaming.click_objects import ClickObjects
from streaming.framing import MAX_BYTES
from streaming.object_reader import FAULTS
from streaming.writer_schemas import WriterSchemas

STRICT_JSON = {"mode": "PERMISSIVE", "allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
FIELDS = tuple(field.name for field in CLICK_FIELDS)
TEXT_OF = {name: f"{name}_text" if name in ("timestamp", "properties") else name for name in FIELDS}
LINE = f"struct<{','.join(f'{name}:string' for name in FIELDS)}>"
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
    return rejected.select(
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


def transform(
    raw: DataFrame, writers: WriterSchemas, max_bytes: int = MAX_BYTES, max_nesting: int = MAX_NESTING
) -> DataFrame:
    """Lines (`object_reader.LINE`) -> the columns of `bronze.click_events` plus `_raw`, `_raw_key`,
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
    """Add the declared fields and `is_plain`: the line is byte for byte what these fields look like in JSON, so it
    holds nothing else. Any other line is read a second time: `members` is its fields as a map from name to text, null
    where it is not exactly one object.
    """
    text = F.col("value")
    is_readable = (F.octet_length(text) <= max_bytes) & F.is_valid_utf8(text)
    fields = F.from_json(text, LINE, STRICT_JSON | {"maxNestingDepth": str(max_nesting)})
    parsed = raw.withColumn("fields", F.when(is_readable, fields))
    named = parsed.withColumns({TEXT_OF[name]: F.col("fields")[name] for name in FIELDS})
    # Spark's reader stops at the end of the first value: two lines whose line end was lost would be one, silently. So
    # the line is read as a part of a larger object, and must end where that goes on.
    whole = F.concat(F.lit('{"line":'), text, F.lit(',"end":{}}'))
    parts = F.from_json(whole, PARTS, STRICT_JSON | {"maxNestingDepth": str(max_nesting + 1)})
    plain = named.withColumn("is_plain", F.coalesce(_is_plain(text), F.lit(False)))
    split = plain.withColumn("parts", F.when(~F.col("is_plain") & is_readable, parts))
    is_one_object = (F.size("parts") == 2) & F.col("parts")["end"].isNotNull()
    return split.withColumns(
        {
            "timestamp": _moment(F.col("timestamp_text")),
            "properties": F.from_json("properties_text", "map<string,string>", STRICT_JSON),
            "members": F.when(is_one_object, F.col("parts")["line"]),
        }
    )


def _is_plain(text: Column) -> Column:
    """Whether the line is the declared fields, in their order, compact or with a blank after each comma and colon.

    Writing the line again and comparing costs a copy; to look for other fields and types in it, a second reading.
    """
    is_wide = F.substring(text, len('{"event_id":') + 1, 1) == " "
    properties = F.col("properties_text")
    is_object = F.coalesce(properties.startswith("{"), F.lit(True))
    return is_object & (text == F.when(is_wide, _written(", ", ": ")).otherwise(_written(",", ":")))


def _written(comma: str, colon: str) -> Column:
    pieces = []
    for number, name in enumerate(FIELDS):
        value = F.col(TEXT_OF[name])
        member = _spaced(value, comma, colon) if name == "properties" else F.concat(F.lit('"'), value, F.lit('"'))
        pieces += [F.lit(f'{comma if number else "{"}"{name}"{colon}'), F.coalesce(member, F.lit("null"))]
    return F.concat(*pieces, F.lit("}"))


def _spaced(compact: Column, comma: str, colon: str) -> Column:
    """Spark gives an object as compact text, however it was written."""
    with_colons = F.replace(compact, F.lit('":"'), F.lit(f'"{colon}"')) if colon != ":" else compact
    return F.replace(with_colons, F.lit('","'), F.lit(f'"{comma}"')) if comma != "," else with_colons


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
    whole = F.concat(F.lit('{"line":'), text, F.lit(',"end":{}}'))
    parts = F.from_json(whole, PARTS, STRICT_JSON | {"maxNestingDepth": str(DEEPEST)})
    return (
        F.when(F.octet_length(text) > max_bytes, F.array(F.lit("oversize")))
        .when(~F.is_valid_utf8(text), F.array(F.lit("invalid_utf8")))
        .when(F.size(parts) == 2, F.array(F.lit("nested_too_deep")))
        .otherwise(F.array(F.lit("malformed_json")))
    )
