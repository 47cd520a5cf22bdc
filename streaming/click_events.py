"""Clickstream objects in S3 (JSON lines) -> `bronze.click_events`.

The stream reads notifications of objects from Kafka, and each batch reads the objects that it names. So objects are
found at constant cost, and the ledger's ranges are offsets as for every other stream.
"""

from __future__ import annotations

from functools import lru_cache, partial, reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.contracts.declared import CLICK_FIELDS
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS
from lakehouse.tables.columns import columns
from quality.rules import CLICK_RULES, Rule, broken_rules, dropped_by, hold, names_of_warnings, names_where, warnings
from streaming.bronze_writer import BronzeStream
from streaming.click_objects import ClickObjects
from streaming.counts import JUDGEMENT, is_good
from streaming.framing import MAX_BYTES
from streaming.object_reader import FAULTS
from streaming.plain_lines import MAP, READ, TEXT_OF
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
        offsets_per_batch=settings.max_notifications_per_batch,
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
    """Lines (`object_lines.LINE`) -> the columns of `bronze.click_events` plus `_raw`, `_raw_key` and the `JUDGEMENT`.

    JSON carries no schema id: `writers` is not used, it is there because all streams share one writer.
    """
    del writers
    judged = reduce(DataFrame.withColumns, _stages(max_bytes, max_nesting, CLICK_RULES), raw)
    return judged.select(*CLICK_EVENTS.columns, "_raw", "_raw_key", *JUDGEMENT)


@lru_cache(maxsize=8)
def _stages(max_bytes: int, max_nesting: int, rules: tuple[Rule, ...]) -> tuple[dict[str, Column], ...]:
    """What `transform` adds, one after the other. Kept: see `inventory_events`."""
    fault, odd = F.col("_object_fault"), F.col("odd")
    is_odd = ~F.col("is_plain") & fault.isNull()
    # All that is said of an odd line is one value, made in one place: what reads JSON can't stand in a compiled stage,
    # and between two such places Spark copies every row.
    read = {"odd": F.when(is_odd, _odd(F.col("value"), max_bytes, max_nesting))}
    fields = {column: F.coalesce(column, odd[column]) for column in (*TEXT_OF.values(), MAP)}
    moment = {"timestamp": _moment(F.col("timestamp_text"))}
    is_repeated = _repeats_a_key(F.col(MAP))
    repeated = F.when(is_repeated, F.array(F.lit("duplicate_field")))
    # A blank line carries nothing: it is filtered by name, so that the batch still balances.
    is_blank = F.coalesce(odd["is_blank"], F.lit(False))
    is_record = fault.isNull() & ~is_blank & odd["reasons"].isNull() & ~is_repeated
    good = {"_is_good": F.when(is_record, hold(rules)).otherwise(F.lit(False))}
    of_line = F.when(~is_blank, F.coalesce(odd["reasons"], repeated, broken_rules(rules)))
    reasons = {"_reasons": F.when(~is_good(), F.when(fault.isNotNull(), F.array(fault)).otherwise(of_line))}
    is_rejected = F.col("_reasons").isNotNull()
    rest = {
        "product_id": F.col(MAP)["product_id"],
        "event_date": F.to_date("timestamp"),
        "event_hour": F.hour("timestamp"),
        "_unknown_fields": F.when(is_good(), odd["unknown"]),
        "_raw": F.when(is_rejected, F.col("value").cast("binary")),
        "_raw_key": F.lit(None).cast("binary"),
        "_filtered_as": F.when(is_blank, F.lit("blank_line")).when(~is_good() & ~is_rejected, dropped_by(rules)),
        "_warnings": F.when(is_good(), warnings(rules)),
    }
    return read, fields, moment, good, reasons, rest


def _odd(text: Column, max_bytes: int, max_nesting: int) -> Column:
    """What a line says that is not plain, as a struct: its declared fields (`timestamp` as its text), `unknown` fields
    as a map, `is_blank`, and `reasons` why it is none of ours.
    """
    is_readable = (F.octet_length(text) <= max_bytes) & F.is_valid_utf8(text)
    parts = F.when(is_readable, _parts(text, max_nesting))

    def said(parts: Column) -> Column:
        is_one_object = (F.size(parts) == 2) & parts["end"].isNotNull()
        members = F.when(is_one_object, parts["line"])
        no_object = F.when(members.isNull(), _why_no_object(text, max_bytes))
        # Also deeper down: of such a line the types can't be told.
        is_repeated = _repeats_a_key(members) | (members.isNotNull() & F.try_parse_json(text).isNull())
        twice = F.when(is_repeated, F.array(F.lit("duplicate_field")))
        return F.struct(
            *[members[name].alias(column) for name, column in TEXT_OF.items()],
            F.from_json(members[MAP], "map<string,string>", STRICT_JSON).alias(MAP),
            _unknown(members).alias("unknown"),
            (F.trim(text) == "").alias("is_blank"),
            F.coalesce(no_object, _wrong_types(text), twice).alias("reasons"),
        )

    # A list of one, so that a line is read once, whatever is asked of it.
    return F.get(F.transform(F.array(parts), said), 0)


def _parts(text: Column, max_nesting: int) -> Column:
    # Spark's reader stops at the end of the first value: two lines whose line end was lost would be one, silently. So
    # the line is read as a part of a larger object, and must end where that goes on.
    whole = F.concat(F.lit('{"line":'), text, F.lit(',"end":{}}'))
    return F.from_json(whole, PARTS, STRICT_JSON | {"maxNestingDepth": str(max_nesting + 1)})


def _moment(text: Column) -> Column:
    # The cast alone takes `2026` for a date, and a time alone for one of today: a replay would give another answer.
    is_date_and_time = (F.substring(text, 5, 1) == "-") & F.substring(text, 11, 1).isin("T", " ")
    return F.when(is_date_and_time, text.try_cast("timestamp"))


def _unknown(members: Column) -> Column:
    declared = [F.struct(F.lit(name).alias("key"), members[name].alias("value")) for name in FIELDS]
    unknown = F.array_except(F.map_entries(members), F.array(*declared))
    # A key that is there twice is named as a reason; a map of it would end the batch.
    return F.when((F.size(unknown) > 0) & ~_repeats_a_key(members), F.map_from_entries(unknown))


def _repeats_a_key(members: Column) -> Column:
    """Whether a map has a key twice: JSON allows it, and readers of Parquet refuse the file."""
    is_repeated = F.size(F.array_distinct(F.map_keys(members))) < F.size(members)
    return F.coalesce((F.size(members) > 1) & is_repeated, F.lit(False))


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
