"""A value as Debezium writes it in JSON -> its declared type; null where it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import reduce

from pyspark.sql import Column
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

from batch.sent_forms import BASE64, TEXT, UNITS, Form

NOT_A_NUMBER = {"NAN": "NaN", "INFINITY": "Infinity", "-INFINITY": "-Infinity"}
MOST_HEX_DIGITS = 32
"""A decimal has 38 digits, which are less than 16 bytes."""
SOONEST, LATEST = 253_500_000, 4_102_444_800
"""Seconds since 1970, from 1978 to 2100, between which the size of a number tells its unit: below, it is also one of a
smaller unit within weeks of 1970, or one of a larger in the year 9999, which many sources write for `never`.
"""


def converted(text: Column, kind: DataType, form: Form) -> Column:
    """A value in one of the forms that Debezium gives it in JSON -> its declared type; null where it does not fit, and
    where the form is not known and decides about the value (`needs_form`).
    """
    if isinstance(kind, StringType):
        return text
    if isinstance(kind, DecimalType):
        return _decimal(text, kind, form)
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
        return _let(text, lambda one: _moment(one, form))
    if isinstance(kind, TimestampNTZType):
        local = F.when(_epoch(text).isNull(), F.regexp_replace(text, "Z$", "").try_cast(kind))
        return F.coalesce(local, _let(text, lambda one: _moment(one, form)).cast(kind))
    if isinstance(kind, BinaryType):
        return F.try_to_binary(text, F.lit("base64"))
    if isinstance(kind, IntegerType | LongType | ShortType):
        return text.try_cast(kind)
    if isinstance(kind, ArrayType):
        return _array(text, kind, form)
    if isinstance(kind, StructType):
        return _struct(text, kind)
    if isinstance(kind, MapType):
        return _map(text, kind)
    return text.try_cast(kind)


def needs_form(text: Column, kind: DataType, form: Form) -> Column:
    """Whether a value that was not taken (`converted`) would be one if anything said which form it has."""
    if isinstance(kind, DecimalType):
        return form.name.isNull() & (_written(text, kind).isNotNull() | _is_no_number(text))
    if isinstance(kind, TimestampType | TimestampNTZType):
        return form.name.isNull() & _epoch(text).isNotNull()
    return F.lit(False)


def _let(value: Column, in_: Callable[[Column], Column]) -> Column:
    # A value that an expression names ten times is written down ten times otherwise, and what it names as well.
    return F.get(F.transform(F.array(value), in_), 0)


def _decimal(text: Column, kind: DecimalType, form: Form) -> Column:
    def by_form(written: Column, unscaled: Column) -> Column:
        variable = _unscaled(F.get_json_object(text, "$.value"), F.get_json_object(text, "$.scale"), kind)
        return (
            F.when(form.name == TEXT, written)
            # A column of no declared scale has its scale beside each value.
            .when(text.startswith("{"), variable)
            .when(form.name == BASE64, unscaled)
            .when((written.isNull() | unscaled.isNull()) & ~_is_no_number(text), F.coalesce(written, unscaled))
        )

    readings = F.struct(_written(text, kind).alias("written"), _unscaled(text, form.scale, kind).alias("unscaled"))
    return _let(readings, lambda one: by_form(one["written"], one["unscaled"]))


def _is_no_number(text: Column) -> Column:
    # Of a numeric that is none. Base64 as well: `NaN` would be 137.31.
    return F.upper(text).isin(*NOT_A_NUMBER)


def _written(text: Column, kind: DecimalType) -> Column:
    """A number in digits; null for one with digits that the column has no place for, which a cast would round away."""

    def number(text: Column) -> Column:
        is_number = text.rlike(r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$")
        digits = F.regexp_replace(text, r"[eE].*$|[^0-9]", "")
        zeros = F.length(F.regexp_extract(digits, "(0*)$", 1))
        behind_the_point = F.length(F.regexp_extract(text, r"\.(\d*)", 1))
        exponent = F.coalesce(F.regexp_extract(text, r"[eE]([+-]?\d+)", 1).try_cast("int"), F.lit(0))
        has_place = (behind_the_point - zeros - exponent <= kind.scale) | ~digits.rlike("[1-9]")
        return F.when(is_number & has_place, text.try_cast(kind))

    return _let(text, number)


def _unscaled(text: Column, scale: Column, kind: DecimalType) -> Column:
    """A number from the base64 of its unscaled bytes, most significant first (`decimal.handling.mode=precise`)."""
    half = MOST_HEX_DIGITS // 2

    def magnitude(digits: Column) -> Column:
        # Two's complement: a negative number is what its inverted bits count, and one less than zero.
        inverted = F.translate(digits, "0123456789ABCDEF", "FEDCBA9876543210")
        whole = F.lpad(F.when(_is_negative(digits), inverted).otherwise(digits), MOST_HEX_DIGITS, "0")
        high, low = (F.conv(F.substring(whole, at, half), 16, 10).cast("decimal(20,0)") for at in (1, half + 1))
        return F.try_add(F.try_multiply(high, F.lit(Decimal(2**64))), low)

    def number(digits: Column) -> Column:
        size = magnitude(digits)
        # A minus sign before a decimal would round it to 34 digits.
        signed = F.when(_is_negative(digits), F.try_subtract(F.lit(-1), size)).otherwise(size)
        # The point is put in as text: a division would round.
        shifted = F.concat(signed.cast("string"), F.lit("E-"), scale.cast("string"))
        return F.when(F.length(digits).between(2, MOST_HEX_DIGITS), _written(shifted, kind))

    return _let(F.hex(F.try_to_binary(text, F.lit("base64"))), number)


def _is_negative(digits: Column) -> Column:
    return digits.rlike("^[89A-F]")


def _epoch(text: Column) -> Column:
    return text.try_cast("bigint")


def _moment(text: Column, form: Form) -> Column:
    """ISO text with a zone, or a number since 1970 whose unit is known, or told by its size; else null."""
    number = _epoch(text)
    size = F.abs(number.cast("decimal(20,0)"))
    by_size = F.when(number == 0, F.timestamp_micros(number))
    by_form = F.when(number.isNull(), text.try_cast("timestamp"))
    for unit, per_second in UNITS.items():
        by_form = by_form.when(form.name == unit, _since_1970(number, per_second))
        # Debezium has no seconds, and what would be some is also milliseconds of early 1970.
        if per_second > 1:
            is_clear = size.between(SOONEST * per_second, LATEST * per_second)
            by_size = by_size.when(is_clear, _since_1970(number, per_second))
    return by_form.otherwise(F.when(form.name.isNull(), by_size))


def _since_1970(number: Column, per_second: int) -> Column:
    if per_second > 10**6:
        parts = F.lit(per_second // 10**6)
        return F.timestamp_micros(F.call_function("div", F.try_subtract(number, F.pmod(number, parts)), parts))
    return F.timestamp_micros(F.try_multiply(number, F.lit(10**6 // per_second)))


def _array(text: Column, kind: ArrayType, form: Form) -> Column:
    items = F.from_json(text, "array<string>")
    if isinstance(kind.elementType, DecimalType):
        # Numbers stand without quotation marks.
        form = Form(F.when(~text.contains('"'), F.lit(TEXT)).otherwise(form.name), form.scale)
    found = F.transform(items, lambda one: converted(one, kind.elementType, form))
    lost = F.exists(
        F.arrays_zip(items.alias("sent"), found.alias("found")),
        lambda one: one["sent"].isNotNull() & one["found"].isNull(),
    )
    return F.when(~lost, found)


def _struct(text: Column, kind: StructType) -> Column:
    sent = F.from_json(text, StructType([StructField(one.name, StringType()) for one in kind]))
    found = {one.name: converted(sent[one.name], one.dataType, _inside()) for one in kind}
    lost = [sent[name].isNotNull() & value.isNull() for name, value in found.items()]
    is_whole = F.json_object_keys(text).isNotNull() & ~reduce(Column.__or__, lost)
    return F.when(is_whole, F.struct(*[value.alias(name) for name, value in found.items()]))


def _map(text: Column, kind: MapType) -> Column:
    sent = F.from_json(text, "map<string,string>")
    found = F.transform_values(sent, lambda _, one: converted(one, kind.valueType, _inside()))
    lost = F.map_filter(found, lambda name, one: one.isNull() & sent[name].isNotNull())
    return F.when(F.json_object_keys(text).isNotNull() & (F.size(lost) == 0), found.cast(kind))


def _inside() -> Form:
    # What stands in a document is written in digits.
    return Form(F.lit(TEXT), F.lit(None).cast("int"))
