"""Forms in which Debezium sends one and the same value: which is told from the record, which must be declared, and what
becomes of a value whose form nobody says. One frame, one Spark job for each declaration.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

from batch import sent_forms
from batch.raw_json import decoded
from batch.sent_forms import UnknownForm
from lakehouse.tables import CapturedTable
from lakehouse.tables.columns import columns

pytestmark = pytest.mark.slow

RECORD = "key binary, value binary, topic string, partition int, offset bigint, timestamp timestamp"
AMOUNTS = CapturedTable(
    "amounts",
    columns(
        "id bigint, total decimal(12,2), fine decimal(20,8), whole decimal(38,0), parts array<decimal(12,2)>, "
        "at timestamp, moments array<timestamp>"
    ),
    keys=("id",),
)
EMPTY = {"total": None, "fine": None, "whole": None, "parts": None, "at": None, "moments": None}
DECIMAL = "org.apache.kafka.connect.data.Decimal"


def unscaled(number: int) -> str:
    """What `decimal.handling.mode=precise` sends: the shortest two's complement, in base64."""
    length = (number if number >= 0 else -number - 1).bit_length() // 8 + 1
    return base64.b64encode(number.to_bytes(length, "big", signed=True)).decode()


def field(column: str, kind: str, **rest: Any) -> dict[str, Any]:
    return {"field": column, "type": kind, "optional": True} | rest


def precise(column: str, scale: int) -> dict[str, Any]:
    return field(column, "bytes", name=DECIMAL, version=1, parameters={"scale": str(scale)})


def record(number: int, column: str, value: Any, by: dict[str, Any] | None) -> tuple[Any, ...]:
    key: Any = {"id": number}
    source = {"lsn": 1, "sequence": '["1","1"]', "txId": 5, "snapshot": "false", "ts_ms": 1}
    change: Any = {"op": "c", "before": None, "after": key | EMPTY | {column: value}, "source": source, "ts_ms": 1}
    if by is not None:
        fields = [field("id", "int64"), by]
        rows = [{"field": side, "type": "struct", "fields": fields} for side in ("before", "after")]
        change = {"schema": {"type": "struct", "fields": rows}, "payload": change}
    return json.dumps(key).encode(), json.dumps(change).encode(), "t", 0, number, datetime(2026, 1, 1)


class Taken:
    """Values of one column, as they are in Bronze or with the reason why the record is no change; all in one job."""

    def __init__(self, spark: SparkSession, cases: list[tuple[str, Any, Any]], declared: Mapping[str, str]) -> None:
        rows = [record(number, *case) for number, case in enumerate(cases)]
        found = decoded(spark.createDataFrame(rows, RECORD).coalesce(1), AMOUNTS, declared).collect()
        self.cases, self.rows = cases, {row["_offset"]: row for row in found}

    def of(self, column: str, *values: Any, by: dict[str, Any] | None = None) -> list[Any]:
        rows = [self.rows[self.cases.index((column, value, by))] for value in values]
        return [row["after"][column] if row["_reasons"] is None else row["_reasons"][0] for row in rows]


PRECISE = precise("total", 2)
FOUR = precise("total", 4)
AS_TEXT = field("total", "string")
PRECISE_ITEMS = field("parts", "array", items={"type": "bytes", "name": DECIMAL, "parameters": {"scale": "2"}})
FINE = [123456789, -123456789, 10**20 - 1, -(10**20) + 1, 0, -1, 127, 128, -128, -129]
WIDE = [10**38 - 1, -(10**38) + 1, 2**64, -(2**64), 2**120 + 1]
EXACT = ["1.500000000000", "1.5E0", "120E-2", "0e-30", "12e+3"]
MICROS = field("at", "int64", name="io.debezium.time.MicroTimestamp")
MILLIS = field("at", "int64", name="io.debezium.time.Timestamp")
NANOS = field("at", "int64", name="io.debezium.time.NanoTimestamp")
MOMENTS = field("moments", "array", items={"type": "int64", "name": "io.debezium.time.MicroTimestamp"})
IN_1972, IN_2026, NEVER = 63_072_000, 1_767_261_600, 253_402_300_799
"""1 January 1972, 1 January 2026 at ten, and the last second of 9999, in seconds."""
CLEAR = [IN_2026 * 10**3, IN_2026 * 10**6, IN_2026 * 10**9, -IN_2026 * 10**6, 0, "2026-01-01T12:00:00.5+02:00"]
UNCLEAR = [IN_2026, IN_1972 * 10**3, IN_1972 * 10**6, IN_1972 * 10**9, NEVER * 10**3, NEVER * 10**6, 86_400]
NO_NUMBERS = ["NaN", "NAN", "Infinity", "-Infinity"]
INEXACT = ["1.230000000001", "1.5E-20", "12E-3", "1.234"]


def cases(column: str, *values: Any, by: dict[str, Any] | None = None) -> list[tuple[str, Any, Any]]:
    return [(column, value, by) for value in values]


@pytest.fixture(scope="module")
def undeclared(spark: SparkSession) -> Taken:
    every = cases("total", "1234", "+123", "12.30", "12345678", "1e10", "ABA=", 1234, *EXACT, *INEXACT)
    every += cases("total", *NO_NUMBERS) + cases("total", "NaN", by=field("total", "double"))
    every += cases("total", {"scale": 1, "value": unscaled(-125)}) + cases("parts", ["1234"], [1234, 1.5])
    return Taken(spark, every + cases("at", *CLEAR, *UNCLEAR), {})


@pytest.fixture(scope="module")
def as_base64(spark: SparkSession) -> Taken:
    every = cases("total", "1234", "+123") + cases("total", "1234", by=AS_TEXT)
    every += cases("at", IN_1972 * 10**6, -1, NEVER * 10**6) + cases("at", IN_1972 * 10**3, by=MILLIS)
    every += cases("fine", *map(unscaled, FINE)) + cases("whole", *map(unscaled, [*WIDE, 10**38]))
    declared = dict.fromkeys(("total", "fine", "whole", "parts"), "base64") | {"at": "microseconds"}
    return Taken(spark, every + cases("parts", ["1234", None]), declared)


@pytest.fixture(scope="module")
def as_text(spark: SparkSession) -> Taken:
    every = cases("total", "1234", "+123", "NaN") + cases("total", "1234", 1234, by=PRECISE)
    every += cases("total", unscaled(12300), unscaled(12345), by=FOUR) + cases("parts", ["1234"], by=PRECISE_ITEMS)
    every += cases("at", IN_1972) + cases("at", IN_1972 * 10**6, by=MICROS) + cases("at", IN_1972 * 10**9 - 1, by=NANOS)
    every += cases("moments", [IN_1972 * 10**6], by=MOMENTS)
    return Taken(spark, every, {"total": "text", "parts": "text", "at": "seconds"})


def numbers(*texts: str) -> list[Decimal]:
    return [Decimal(text) for text in texts]


def test_a_text_that_reads_as_two_numbers_is_rejected_until_its_form_is_declared(
    undeclared: Taken, as_base64: Taken, as_text: Taken
) -> None:
    assert unscaled(-2658824) == "1234"
    assert undeclared.of("total", "1234", "+123") == ["form_not_known:total"] * 2
    assert as_base64.of("total", "1234", "+123") == numbers("-26588.24", "-3036.89")
    assert as_text.of("total", "1234", "+123") == numbers("1234", "123")


def test_a_text_that_reads_as_one_number_needs_no_declaration(undeclared: Taken) -> None:
    # As digits 1e10 is more than the column can hold, as base64 12345678 is.
    expected = numbers("12.30", "12345678", "-27572.60", "0.16", "1234")
    assert undeclared.of("total", "12.30", "12345678", "1e10", "ABA=", 1234) == expected


def test_the_schema_of_a_record_says_the_form_before_any_declaration(as_base64: Taken, as_text: Taken) -> None:
    # A number without quotation marks is one, whatever the schema says (the converter's `decimal.format=NUMERIC`).
    assert as_text.of("total", "1234", 1234, by=PRECISE) == numbers("-26588.24", "1234")
    assert as_base64.of("total", "1234", by=AS_TEXT) == numbers("1234")
    assert as_text.of("parts", ["1234"], by=PRECISE_ITEMS) == [numbers("-26588.24")]


def test_a_decimal_that_is_no_number_is_never_what_its_name_is_as_base64(undeclared: Taken, as_text: Taken) -> None:
    assert undeclared.of("total", *NO_NUMBERS) == ["form_not_known:total"] * len(NO_NUMBERS)
    assert undeclared.of("total", "NaN", by=field("total", "double")) == ["type_does_not_fit:total"]
    assert as_text.of("total", "NaN") == ["type_does_not_fit:total"]


def test_the_scale_is_that_of_the_schema(as_text: Taken) -> None:
    kept = as_text.of("total", unscaled(12300), unscaled(12345), by=FOUR)
    assert kept == [Decimal("1.23"), "type_does_not_fit:total"]


def test_a_number_of_no_declared_scale_has_its_own(undeclared: Taken) -> None:
    assert undeclared.of("total", {"scale": 1, "value": unscaled(-125)}) == numbers("-12.5")


def test_bytes_keep_every_digit_and_the_sign(as_base64: Taken) -> None:
    assert as_base64.of("fine", *map(unscaled, FINE)) == [Decimal(one).scaleb(-8) for one in FINE]
    assert as_base64.of("whole", *map(unscaled, WIDE)) == [Decimal(one) for one in WIDE]
    assert as_base64.of("whole", unscaled(10**38)) == ["type_does_not_fit:whole"]


def test_digits_that_have_no_place_are_not_rounded_away(undeclared: Taken) -> None:
    assert undeclared.of("total", *EXACT) == numbers("1.5", "1.5", "1.20", "0", "12000")
    assert undeclared.of("total", *INEXACT) == ["type_does_not_fit:total"] * len(INEXACT)


def test_elements_of_an_array_have_the_form_of_their_column(undeclared: Taken, as_base64: Taken) -> None:
    assert undeclared.of("parts", ["1234"], [1234, 1.5]) == ["type_does_not_fit:parts", numbers("1234", "1.5")]
    assert as_base64.of("parts", ["1234", None]) == [[Decimal("-26588.24"), None]]


def test_a_number_is_a_moment_in_the_unit_of_its_schema(as_base64: Taken, as_text: Taken) -> None:
    start = datetime(1972, 1, 1)
    assert as_text.of("at", IN_1972 * 10**6, by=MICROS) == [start]
    assert as_base64.of("at", IN_1972 * 10**3, by=MILLIS) == [start]
    assert as_text.of("at", IN_1972 * 10**9 - 1, by=NANOS) == [start - timedelta(microseconds=1)]
    assert as_text.of("moments", [IN_1972 * 10**6], by=MOMENTS) == [[start]]


def test_a_number_is_a_moment_in_the_declared_unit(as_base64: Taken, as_text: Taken) -> None:
    before = datetime(1969, 12, 31, 23, 59, 59, 999_999)
    moments = as_base64.of("at", IN_1972 * 10**6, -1, NEVER * 10**6)
    assert moments == [datetime(1972, 1, 1), before, datetime(9999, 12, 31, 23, 59, 59)]
    assert as_text.of("at", IN_1972) == [datetime(1972, 1, 1)]


def test_the_size_of_a_number_tells_its_unit_only_where_it_can_be_no_other(undeclared: Taken) -> None:
    ten = datetime(2026, 1, 1, 10)
    mirrored = datetime(1970, 1, 1) - (ten - datetime(1970, 1, 1))
    assert undeclared.of("at", *CLEAR) == [
        ten,
        ten,
        ten,
        mirrored,
        datetime(1970, 1, 1),
        ten.replace(microsecond=500_000),
    ]
    assert undeclared.of("at", *UNCLEAR) == ["form_not_known:at"] * len(UNCLEAR)


def test_a_form_that_a_column_cannot_have_is_refused() -> None:
    with pytest.raises(UnknownForm, match="total of amounts can't be sent as 'base32': expected text, base64"):
        sent_forms.require(AMOUNTS, {"total": "base32"})
    with pytest.raises(UnknownForm, match="it is no column"):
        sent_forms.require(AMOUNTS, {"totals": "text"})
