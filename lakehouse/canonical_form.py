"""The written form in which a row of Postgres and a row of Silver are the same text (docs/reconciliation.md).

Each type has two lines here, one in the words of Postgres and one in those of Spark, and both give the same text. A
row is the texts of its columns one after the other, each behind its length in characters, so that no two rows of
different values are the same text; a null is a dash, which no length is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from psycopg import sql
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    IntegerType,
    LongType,
    StringType,
    StructType,
    TimestampType,
)

Sql = sql.Composable
INTEGERS = ("int2", "int4", "int8")
SOURCE_TYPES: Mapping[type[DataType], Sequence[str]] = {
    StringType: ("text", "varchar", "bpchar", "citext", "uuid", "json", "jsonb", "enum", *INTEGERS),
    IntegerType: INTEGERS,
    LongType: INTEGERS,
    BooleanType: ("bool",),
    DecimalType: ("numeric", *INTEGERS),
    DateType: ("date",),
    TimestampType: ("timestamp", "timestamptz"),
    BinaryType: ("bytea",),
}
"""Declared type -> the types of Postgres whose values have the same text on both sides."""
HASH_BITS = 60
HASH_DIGITS = HASH_BITS // 4
MODULUS = 1 << HASH_BITS
BUCKET_DIGITS = 8
PLAIN_SCALE = 6
"""Up to this scale Spark never writes a decimal with an exponent."""


def has_form(kind: DataType, source: str) -> bool:
    """Whether values that Postgres holds as `source` (`SOURCE_TYPES`, with `[]` behind it for an array) and Silver as
    `kind` can be compared. Others have no text that both sides agree on: Debezium writes a time, an interval or a
    double otherwise than Postgres does.
    """
    if isinstance(kind, ArrayType):
        return source.endswith("[]") and has_form(kind.elementType, source.removesuffix("[]"))
    return source in SOURCE_TYPES.get(type(kind), ())


def postgres_text(value: Sql, kind: DataType) -> Sql:
    """The canonical text of a value in SQL of Postgres; null for a null."""
    if isinstance(kind, ArrayType):
        element = _postgres_field(postgres_text(sql.SQL("one.element"), kind.elementType))
        return sql.SQL(
            "case when {value} is not null then cardinality({value})::text || ';' || coalesce((select "
            "string_agg({element}, '' order by one.place) from unnest({value}) with ordinality as one (element, place))"
            ", '') end"
        ).format(value=value, element=element)
    return _POSTGRES[type(kind)](value, kind)


def spark_text(value: Column, kind: DataType) -> Column:
    """The same as a column of Spark."""
    if isinstance(kind, ArrayType):
        fields = F.transform(value, lambda one: _spark_field(spark_text(one, kind.elementType)))
        return F.when(value.isNotNull(), F.concat(F.size(value).cast("string"), F.lit(";"), F.array_join(fields, "")))
    return _SPARK[type(kind)](value, kind)


def postgres_row(columns: Sequence[str], types: StructType, source_names: Mapping[str, str]) -> Sql:
    """The text of a row: its declared `columns` in order; `source_names` says what the source calls one."""
    fields = [
        _postgres_field(postgres_text(sql.Identifier(source_names.get(name, name)), types[name].dataType))
        for name in columns
    ]
    return sql.SQL(" || ").join(fields)


def spark_row(columns: Sequence[str], types: StructType) -> Column:
    """The same as a column of Spark."""
    return F.concat(*[_spark_field(spark_text(F.col(name), types[name].dataType)) for name in columns])


def postgres_hash(text: Sql) -> Sql:
    """The first 60 bits of the text's MD5, as a bigint."""
    digits = sql.Literal(HASH_DIGITS)
    bits = sql.SQL("bit({})").format(sql.Literal(HASH_BITS))
    return sql.SQL("('x' || left(md5(convert_to({}, 'UTF8')), {}))::{}::bigint").format(text, digits, bits)


def spark_hash(text: Column) -> Column:
    """The same as a column of Spark."""
    return F.conv(F.substring(F.md5(text.cast("binary")), 1, HASH_DIGITS), 16, 10).cast("bigint")


def postgres_bucket(key_text: Sql, buckets: int) -> Sql:
    """The bucket of a key, 0 to `buckets` - 1."""
    start = sql.SQL("left(md5(convert_to({}, 'UTF8')), {})").format(key_text, sql.Literal(BUCKET_DIGITS))
    return sql.SQL("mod(('x' || {})::bit(32)::bigint, {})").format(start, sql.Literal(buckets))


def spark_bucket(key_text: Column, buckets: int) -> Column:
    """The same as a column of Spark."""
    start = F.substring(F.md5(key_text.cast("binary")), 1, BUCKET_DIGITS)
    return F.pmod(F.conv(start, 16, 10).cast("bigint"), F.lit(buckets)).cast("int")


def _postgres_field(text: Sql) -> Sql:
    return sql.SQL("coalesce(length({text})::text || ':' || {text}, '-')").format(text=text)


def _spark_field(text: Column) -> Column:
    return F.coalesce(F.concat(F.length(text).cast("string"), F.lit(":"), text), F.lit("-"))


def _postgres_string(value: Sql, _: DataType) -> Sql:
    # A cast to text drops the blanks at the end of a char(n), which Debezium sends.
    return sql.SQL("case when {value} is not null then concat({value}) end").format(value=value)


def _as_is(value: Sql, _: DataType) -> Sql:
    return sql.SQL("{}::text").format(value)


def _postgres_decimal(value: Sql, kind: DataType) -> Sql:
    assert isinstance(kind, DecimalType)
    # Rounding would hide digits that Silver can't hold: a number that has them stays as it is, and differs.
    return sql.SQL(
        "case when scale(trim_scale({value}::numeric)) <= {scale} then round({value}::numeric, {scale})::text "
        "else {value}::text end"
    ).format(value=value, scale=sql.Literal(kind.scale))


def _spark_decimal(value: Column, kind: DataType) -> Column:
    assert isinstance(kind, DecimalType)
    text = value.cast("string")
    if kind.scale <= PLAIN_SCALE:
        return text
    # 1.2E-9 has all digits of the unscaled number before its exponent: they are the last ones behind the point.
    digits = F.lpad(F.regexp_replace(text, "^-|[.]|E.*$", ""), kind.scale, "0")
    sign = F.when(text.startswith("-"), "-").otherwise("")
    return F.when(text.contains("E"), F.concat(sign, F.lit("0."), digits)).otherwise(text)


def _postgres_date(value: Sql, _: DataType) -> Sql:
    return sql.SQL(
        "case when isfinite({value}) then ({value} - date '1970-01-01')::text else {value}::text end"
    ).format(value=value)


def _postgres_timestamp(value: Sql, _: DataType) -> Sql:
    # Without a zone it counts as UTC, as Debezium sends it.
    return sql.SQL(
        "case when isfinite({value}) then (extract(epoch from {value}) * 1000000)::bigint::text else {value}::text end"
    ).format(value=value)


_POSTGRES: Mapping[type[DataType], Callable[[Sql, DataType], Sql]] = {
    StringType: _postgres_string,
    IntegerType: _as_is,
    LongType: _as_is,
    BooleanType: _as_is,
    DecimalType: _postgres_decimal,
    DateType: _postgres_date,
    TimestampType: _postgres_timestamp,
    BinaryType: lambda value, _: sql.SQL("encode({}, 'hex')").format(value),
}
_SPARK: Mapping[type[DataType], Callable[[Column, DataType], Column]] = {
    StringType: lambda value, _: value,
    IntegerType: lambda value, _: value.cast("string"),
    LongType: lambda value, _: value.cast("string"),
    BooleanType: lambda value, _: value.cast("string"),
    DecimalType: _spark_decimal,
    DateType: lambda value, _: F.unix_date(value).cast("string"),
    TimestampType: lambda value, _: F.unix_micros(value).cast("string"),
    BinaryType: lambda value, _: F.lower(F.hex(value)),
}
