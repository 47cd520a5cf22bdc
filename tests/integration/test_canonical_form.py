"""Postgres and Spark give the same canonical text for the same values, of every type that has one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from pyspark.sql import SparkSession

from batch import reconcile
from lakehouse import source_rows
from lakehouse.settings import Settings
from lakehouse.source_rows import SourceNotReadable, SourceTable
from lakehouse.tables.captured import CapturedTable
from lakehouse.tables.columns import columns

pytestmark = [pytest.mark.integration, pytest.mark.slow]
CASES = CapturedTable(
    name="canonical_cases",
    columns=columns(
        "id bigint, part string, small int, text string, amount decimal(12,2), fine decimal(38,18), day date, "
        "at timestamp, local_at timestamp, is_set boolean, body binary, tags array<string>, parts "
        "array<decimal(12,2)>, document string, ratio double, renamed string, code string, codes "
        "array<string>, mood string, token string, documents array<string>, opens string, lasts string, gone string"
    ),
    keys=("id", "part"),
    may_be_missing=("gone",),
    old_names={"was_named": "renamed"},
)
MADE = """
create table canonical_cases (
    id bigint, part text, small int, text text, amount numeric(12, 2), fine numeric, day date, at timestamptz,
    local_at timestamp, is_set boolean, body bytea, tags text[], parts numeric[], document jsonb,
    ratio double precision, was_named text, extra text, code char(5), codes char(3)[], mood canonical_mood, token uuid,
    documents jsonb[], opens time, lasts interval, primary key (id, part)
)
"""
AT = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
NAMES = ("id", "part", "small", "text", "amount", "fine", "day", "at", "local_at", "is_set", "body", "tags", "parts")
NAMES += ("document", "ratio", "renamed", "code", "codes", "mood", "token", "documents", "opens", "lasts", "gone")
UUID = "0b6b6a34-5b0f-4a51-9d3f-0d0f6f3f1f11"


def case(number: int, **values: Any) -> tuple[Any, ...]:
    row = dict.fromkeys(NAMES) | {"id": number, "part": "a"} | values
    return tuple(row[name] for name in NAMES)


ROWS = [
    case(1),
    case(2, text="", tags=[], parts=[], body=b""),
    case(3, text="-", tags=[None, "", "a:b", "1:a"], parts=[None, Decimal("1.50"), Decimal("-0.01")]),
    case(4, text='O\'Neil "quoted" \\ 🙂 e\u0301 \u00e9 \n tab\t%s', document='{"a": [1, 2.50, null], "ü": "x"}'),
    case(5, amount=Decimal("0.00"), fine=Decimal("0"), day=date(1970, 1, 1), at=datetime(1970, 1, 1, tzinfo=UTC)),
    case(6, amount=Decimal("-0.05"), fine=Decimal("0.000000000000000001"), day=date(1, 1, 1)),
    case(7, amount=Decimal("9999999999.99"), fine=Decimal("-0.00000012"), day=date(9999, 12, 31), at=AT),
    case(8, fine=Decimal("-12345678901234567890.123456789012345678"), local_at=datetime(1969, 12, 31, 23, 59, 59, 1)),
    case(9, small=-2147483648, is_set=True, body=b"\x00\xff", at=datetime(1883, 11, 18, 12, 0, 0, 999999, tzinfo=UTC)),
    case(10, part="x", is_set=False, ratio=0.1, renamed="still here", opens="12:00:00", lasts="1 day"),
    case(11, code="ab   ", codes=["a  ", None, "   "], mood="glad", token=UUID),
    case(12, code="     ", documents=['{"a": [1, 2.50]}', None, '"x"']),
    case(13, tags=["ab", *[None] * 10]),
    case(14, tags=["ab----------"]),
    case(-(2**63), part="", text="11:"),
    case(2**63 - 1, part="1:", text="1"),
]


@pytest.fixture
def made(stack: Settings) -> Iterator[psycopg.Connection[Any]]:
    """The table of the cases in Postgres, filled."""
    with psycopg.connect(**stack.postgres_conninfo, autocommit=True) as connection:  # type: ignore[arg-type]
        connection.execute("drop table if exists canonical_cases")
        connection.execute("drop type if exists canonical_mood")
        connection.execute("create type canonical_mood as enum ('glad', 'sad')")
        connection.execute(MADE)
        connection.execute("grant select on canonical_cases to reader")
        places = ", ".join("%s::jsonb[]" if name == "documents" else "%s" for name in NAMES[:-1])
        names = ", ".join(NAMES[:-1]).replace("renamed", "was_named")
        for row in ROWS:
            connection.execute(f"insert into canonical_cases ({names}) values ({places})", row[:-1])
        yield connection
        connection.execute("drop table canonical_cases")
        connection.execute("drop type canonical_mood")


def source(stack: Settings) -> SourceTable:
    _, (found,) = source_rows.read(stack, [CASES])
    return found


def differing(spark: SparkSession, found: SourceTable, rows: list[tuple[Any, ...]]) -> list[int]:
    frame = spark.createDataFrame(rows, CASES.columns)
    return reconcile.Comparison(found, reconcile.held(frame, found)).differing


def test_every_type_gives_one_text_on_both_sides(
    spark: SparkSession, stack: Settings, made: psycopg.Connection[Any]
) -> None:
    found = source(stack)
    assert found.rows == len(ROWS)
    assert found.shape.left_out == (
        "ratio (type double, float8 in the source)",
        "opens (type string, time in the source)",
        "lasts (type string, interval in the source)",
        "gone (not in the source)",
        "extra (not declared)",
    )
    wrong = [row[0] for row in ROWS if not _agrees(spark, found, row)]
    assert wrong == []
    assert differing(spark, found, ROWS) == []


def _agrees(spark: SparkSession, found: SourceTable, row: tuple[Any, ...]) -> bool:
    frame = spark.createDataFrame([row], CASES.columns)
    ((bucket, ours),) = reconcile.held(frame, found).items()
    return found.held.get(bucket) == ours


@pytest.mark.parametrize(
    "values",
    [
        {"amount": "NaN"},
        {"fine": "Infinity"},
        {"fine": "0.0000000000000000001"},
        {"day": "infinity"},
        {"at": "-infinity"},
        {"local_at": "infinity"},
        {"text": ""},
        {"tags": []},
        {"is_set": False},
        {"day": "0044-03-15 BC"},
        {"code": ""},
    ],
    ids=str,
)
def test_a_value_that_silver_holds_as_null_differs(
    spark: SparkSession, stack: Settings, made: psycopg.Connection[Any], values: dict[str, Any]
) -> None:
    ((name, value),) = values.items()
    made.execute(f"update canonical_cases set {name} = %s where id = 1", [value])
    assert len(differing(spark, source(stack), ROWS)) == 1


def test_nulls_behind_a_text_are_not_taken_for_a_longer_text(
    spark: SparkSession, stack: Settings, made: psycopg.Connection[Any]
) -> None:
    # Without something behind the number of elements, both would be 112:ab----------.
    made.execute("update canonical_cases set tags = %s where id = 1", [["ab", *[None] * 10]])
    assert len(differing(spark, source(stack), [case(1, tags=["ab----------"]), *ROWS[1:]])) == 1


def test_lost_doubled_changed_and_lost_with_doubled_are_seen(
    spark: SparkSession, stack: Settings, made: psycopg.Connection[Any]
) -> None:
    found = source(stack)
    assert len(differing(spark, found, ROWS[1:])) == 1
    assert len(differing(spark, found, [*ROWS, ROWS[0]])) == 1
    assert len(differing(spark, found, [*ROWS, ROWS[0], ROWS[0]])) == 1
    assert len(differing(spark, found, [case(1, text="other"), *ROWS[1:]])) == 1
    assert len(differing(spark, found, [ROWS[1], *ROWS[1:]])) == 2


def test_a_read_longer_than_its_limit_ends_with_the_cure(stack: Settings, made: psycopg.Connection[Any]) -> None:
    made.execute("insert into canonical_cases (id, part) select one, 'many' from generate_series(1, 400000) as one")
    hasty = stack.model_copy(update={"postgres_read_seconds": 0.3})
    with pytest.raises(SourceNotReadable, match=r"statement timeout.*LAKEHOUSE_POSTGRES_READ_SECONDS"):
        source(hasty)


def test_a_table_that_the_reader_may_not_see_is_named(stack: Settings, made: psycopg.Connection[Any]) -> None:
    made.execute("revoke select on canonical_cases from reader")
    with pytest.raises(SourceNotReadable, match="permission denied for table canonical_cases"):
        source(stack)
