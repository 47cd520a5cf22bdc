"""Raw Kafka records of any declared table, applied through the public way in: what each kind of record comes to.

One table, three calls; each test looks at the keys of its own case.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pytest
from kafka_rows import framed
from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, StringType, StructField, StructType, TimestampNTZType

from batch.apply import Applied, apply_changes
from batch.left_out import PLACEHOLDER
from lakehouse.tables import CapturedTable, TableSpec
from lakehouse.tables.columns import columns

pytestmark = pytest.mark.slow

RECORD = "key binary, value binary, topic string, partition int, offset bigint, timestamp timestamp"
NTZ = StructField("local_at", TimestampNTZType())
INVOICES = CapturedTable(
    "invoices",
    StructType(
        [
            *columns("shop string, id bigint, total decimal(12,2), at timestamp").fields,
            NTZ,
            *columns("day date, note string, is_paid boolean, rate double, scan binary").fields,
            StructField("tags", ArrayType(StringType())),
        ]
    ),
    keys=("shop", "id"),
)
SHOP = 'o\'Neill "&" 😀'
ROW = {
    "total": "12.30",
    "at": "2026-01-01T10:00:00.123456+02:00",
    "local_at": "2026-01-01T10:00:00Z",
    "day": "2026-01-01Z",
    "note": "long",
    "is_paid": True,
    "rate": 1.5,
    "scan": "AQI=",
    "tags": ["a", 'b"c', None],
}
AT = datetime(2026, 1, 1, 8, 0, 0, 123456)
NOON_MS = 1_767_261_600_000


class Topic:
    """A topic with one partition, as Debezium fills it."""

    def __init__(self) -> None:
        self.records: list[tuple[Any, ...]] = []
        self.offset = 0

    def put(self, op: str, case: int, lsn: int, commit: int | None = 1, **values: Any) -> None:
        """A change of the row `case`; what is no column: `sequence`, `before`, `is_wrapped`."""
        sequence = values.pop("sequence", json.dumps([None if commit is None else str(commit), str(lsn)]))
        before, is_wrapped = values.pop("before", None), values.pop("is_wrapped", False)
        key = {"shop": SHOP, "id": case}
        after = None if op in "dt" else key | ROW | values
        source = {"lsn": lsn, "sequence": sequence, "txId": 5, "snapshot": str(op == "r").lower(), "ts_ms": 1000 * lsn}
        value = {"op": op, "before": before and key | before, "after": after, "source": source, "ts_ms": 1}
        sides = [None if op == "t" else key, value]
        if is_wrapped:
            sides = [one and {"schema": {"type": "struct"}, "payload": one} for one in sides]
        self.raw(*[None if one is None else json.dumps(one).encode() for one in sides])

    def raw(self, key: bytes | None, value: bytes | None) -> None:
        self.records.append((key, value, "t", 0, self.offset, AT))
        self.offset += 1

    def take(self, spark: SparkSession) -> Any:
        taken, self.records = self.records, []
        return spark.createDataFrame(taken, RECORD)


@dataclass(frozen=True)
class Lake:
    applied: list[Applied]
    live: dict[int, Any]
    history: dict[int, list[Any]]
    deleted: set[int]
    rejected: dict[int, list[str]]


def _snapshot_row(case: int) -> tuple[bytes, bytes]:
    key = {"shop": SHOP, "id": case}
    source = {"lsn": 50, "sequence": '[null,"50"]', "snapshot": "true", "ts_ms": 50_000}
    value = {"op": "r", "before": None, "after": key | ROW | {"total": "1.00"}, "source": source}
    return json.dumps(key).encode(), json.dumps(value).encode()


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    base, topic = tmp_path_factory.mktemp("lake"), Topic()
    # 1: with the wrapper, then without; a left-out value.
    topic.put("c", 1, 10, is_wrapped=True)
    topic.put("u", 1, 20, note=PLACEHOLDER, total="99.99")
    # 2: numbers where Debezium sends them, and values that are none.
    topic.put("c", 2, 11, total="ABA=", at=NOON_MS * 1000, local_at=NOON_MS, day=20454, rate="NAN", tags=[])
    # 3 to 5: what does not fit.
    topic.put("c", 3, 12, total="1.234")
    topic.put("c", 4, 13, is_paid="perhaps")
    topic.raw(b'{"shop": "x", "id": 5}', b"{nonsense")
    # 6: REPLICA IDENTITY FULL: the row before has what the change leaves out.
    topic.put("u", 6, 14, note=PLACEHOLDER, before=ROW | {"note": "from before"})
    # 7: never seen; comes late. 8: an array that is left out.
    topic.put("u", 7, 15, note=PLACEHOLDER)
    topic.put("c", 8, 16, tags=["kept"])
    topic.put("u", 8, 17, tags=[PLACEHOLDER], total="2.00")
    # 10 -> 11: the row gets another key and takes its note along.
    topic.put("d", 10, 30)
    topic.put("c", 11, 30, note=PLACEHOLDER)
    # 12: a snapshot's row beside a transaction that was open: lower LSN, later commit.
    topic.put("u", 12, 18, commit=40, total="3.00")
    topic.put("r", 12, 35, commit=38, total="2.00")
    # 13: the first transaction after a new slot's snapshot, which had begun before it.
    topic.put("r", 13, 50, commit=None, total="1.00")
    topic.put("u", 13, 45, commit=None, total="2.00")
    # 14: gone before it was seen, then an older update. 15: deleted and inserted again.
    topic.put("d", 14, 25)
    topic.put("c", 15, 21)
    topic.put("d", 15, 22)
    topic.put("c", 15, 23, total="5.00")
    topic.raw(json.dumps({"shop": SHOP, "id": 15}).encode(), None)
    # 16: another tool's records, without a sequence: by LSN alone.
    topic.put("r", 16, 60, sequence=None, total="6.00")
    topic.put("u", 16, 55, sequence=None, total="5.00")
    # 17: touched twice without a change.
    topic.put("c", 17, 26)
    topic.put("u", 17, 27)
    # 19: a number of more digits than a double has. 21: a row that is none. 22: its old key goes in the next call.
    topic.put("c", 19, 28, total=9999999999.99, is_wrapped=True)
    topic.raw(json.dumps({"shop": SHOP, "id": 21}).encode(), b'{"op": "c", "after": [1], "source": {"lsn": 9}}')
    topic.put("c", 23, 7, note="before the move")
    topic.put("c", 22, 31, note=PLACEHOLDER)
    # 24: a change whose snapshot's row comes in the next call.
    topic.offset += 1
    offset_of_24 = topic.offset
    topic.put("u", 24, 45, commit=None, total="2.00")
    # 25 -> 26 -> 27: of the two values that it takes along, one was never seen.
    topic.put("u", 25, 32, note="two keys on", tags=[PLACEHOLDER])
    for old, lsn in ((25, 33), (26, 34)):
        topic.put("d", old, lsn)
        topic.put("c", old + 1, lsn, note=PLACEHOLDER, tags=[PLACEHOLDER])
    # 18: an insert with no key.
    topic.raw(None, json.dumps({"op": "c", "after": {"shop": SHOP, "id": 18} | ROW, "source": {"lsn": 9}}).encode())
    applied = [apply_changes(spark, topic.take(spark), INVOICES, base)]
    # Late: what happened before. The snapshot's row of 24 stands before its change in the topic.
    topic.raw(*_snapshot_row(24))
    topic.records[-1] = (*topic.records[-1][:4], offset_of_24 - 1, AT)
    topic.put("u", 14, 24)
    topic.put("d", 23, 31)
    topic.put("c", 7, 5, note="late")
    topic.put("c", 10, 6, note="taken along")
    topic.put("u", 1, 15, note="between", total="50.00")
    topic.put("u", 1, 20, note=PLACEHOLDER, total="99.99")
    applied.append(apply_changes(spark, topic.take(spark), INVOICES, base))
    # A truncate that stands before some rows and behind others, and the same again.
    topic.put("c", 20, 100, commit=95)
    topic.put("t", 0, 90, commit=85)
    topic.put("t", 0, 90, commit=85)
    topic.put("u", 2, 80)
    applied.append(apply_changes(spark, topic.take(spark), INVOICES, base))
    return Lake(applied, *_read(spark, base))


def _read(spark: SparkSession, base: Path) -> tuple[Any, ...]:
    def rows(name: str) -> list[Any]:
        return list(spark.read.format("delta").load(f"{base}/{name}").collect())

    # The truncate of the last call is looked at by its own test; the others look at the version before it.
    before = spark.read.format("delta").option("versionAsOf", 2).load(f"{base}/silver/invoices").collect()
    history: dict[int, list[Any]] = {}
    for row in sorted(rows("silver/invoices_history"), key=lambda one: one["valid_from"]):
        history.setdefault(row["id"], []).append(row)
    rejected = {row["origin_position"]: row["reasons"] for row in rows("ops/quarantine/invoices_changes")}
    rejected |= {row["origin_position"]: row["reasons"] for row in rows("ops/quarantine/silver_invoices")}
    live = {row["id"]: row for row in before} | {-row["id"]: row for row in rows("silver/invoices")}
    return live, history, {row["id"] for row in rows("silver/invoices_deleted")}, rejected


def test_each_record_is_accounted_for(lake: Lake) -> None:
    assert lake.applied[0] == Applied(records=36, changes=31, rejected=4, tombstones=1)


def test_types_arrive_as_they_were_sent(lake: Lake) -> None:
    row = lake.live[1]
    assert (row["shop"], row["total"], row["at"], row["note"]) == (SHOP, Decimal("99.99"), AT, "between")
    assert (row["local_at"], str(row["day"]), row["is_paid"]) == (datetime(2026, 1, 1, 10), "2026-01-01", True)
    assert (row["scan"], row["tags"]) == (b"\x01\x02", ["a", 'b"c', None])


def test_numbers_stand_for_moments_days_and_unscaled_decimals(lake: Lake) -> None:
    row = lake.live[2]
    noon = datetime(2026, 1, 1, 10)
    assert (row["total"], row["at"], row["local_at"], str(row["day"])) == (Decimal("0.16"), noon, noon, "2026-01-01")
    assert row["rate"] != row["rate"], "NAN is no number"
    assert row["tags"] == []


def test_what_does_not_fit_is_named_and_never_a_null(lake: Lake) -> None:
    reasons = list(lake.rejected.values())
    assert ["type_does_not_fit:total"] in reasons
    assert ["type_does_not_fit:is_paid"] in reasons
    assert ["undecodable_body"] in reasons
    assert ["missing_key"] in reasons
    assert not {3, 4, 5, 18, 21} & set(lake.live)


def test_a_left_out_value_comes_from_where_it_is_known(lake: Lake) -> None:
    assert lake.live[6]["note"] == "from before"
    assert (lake.live[8]["tags"], lake.live[8]["total"]) == (["kept"], Decimal("2.00"))


def test_a_value_that_comes_late_fills_what_was_not_known(lake: Lake) -> None:
    assert (lake.live[7]["note"], lake.live[7]["_unresolved_columns"]) == ("late", None)


def test_a_late_change_of_the_old_key_corrects_the_new_one(lake: Lake) -> None:
    assert lake.live[11]["note"] == "taken along"
    assert 10 in lake.deleted


def test_a_row_whose_old_key_is_deleted_later_gets_what_it_took_along(lake: Lake) -> None:
    assert (lake.live[22]["note"], lake.live[22]["_unresolved_columns"]) == ("before the move", None)


def test_a_row_that_moves_twice_takes_along_what_is_known_of_it(lake: Lake) -> None:
    assert (lake.live[27]["note"], lake.live[27]["_unresolved_columns"]) == ("two keys on", ["tags"])


def test_a_decimal_that_is_sent_as_a_number_keeps_its_digits(lake: Lake) -> None:
    assert lake.live[19]["total"] == Decimal("9999999999.99")


def test_a_snapshot_row_loses_to_a_change_that_it_did_not_see(lake: Lake) -> None:
    assert lake.live[12]["total"] == Decimal("3.00")
    assert lake.live[13]["total"] == Decimal("2.00")
    assert lake.live[24]["total"] == Decimal("2.00"), "its snapshot's row comes later, and from before it"


def test_without_a_sequence_the_lsn_orders(lake: Lake) -> None:
    assert lake.live[16]["total"] == Decimal("6.00")


def test_an_old_update_does_not_revive_a_row_that_was_never_seen(lake: Lake) -> None:
    assert 14 not in lake.live
    assert 14 in lake.deleted


def test_a_delete_ends_a_span_and_an_insert_begins_the_next(lake: Lake) -> None:
    first, second = lake.history[15]
    assert (first["valid_to"], first["is_current"]) == (datetime(1970, 1, 1, 0, 0, 22), False)
    assert (second["valid_from"], second["total"]) == (datetime(1970, 1, 1, 0, 0, 23), Decimal("5.00"))


def test_a_late_change_splits_the_span_where_it_belongs(lake: Lake) -> None:
    spans = [(row["total"], row["note"], row["valid_from"].second) for row in lake.history[1]]
    assert spans == [
        (Decimal("12.30"), "long", 10),
        (Decimal("50.00"), "between", 15),
        (Decimal("99.99"), "between", 20),
    ]


def test_equal_states_in_a_row_are_one_span(lake: Lake) -> None:
    assert len(lake.history[17]) == 1


def test_a_truncate_ends_what_is_older_and_nothing_else(lake: Lake) -> None:
    assert [number for number in lake.live if number < 0] == [-20]
    assert lake.history[17][0]["valid_to"] == datetime(1970, 1, 1, 0, 1, 30)
    # Older than the truncate and later to come: it changed the past only.
    assert [row["total"] for row in lake.history[2]] == [Decimal("0.16"), Decimal("12.30")]


NUMERIC = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Envelope",
    "fields": [
        {"name": "op", "type": "string"},
        {"name": "before", "type": "null"},
        {
            "name": "after",
            "type": {
                "type": "record",
                "name": "Value",
                "fields": [
                    {"name": "id", "type": "long"},
                    {"name": "note", "type": ["null", "string"]},
                    {"name": "total", "type": ["null", NUMERIC]},
                    {"name": "at", "type": {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"}},
                    {"name": "seen_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                    {"name": "tags", "type": {"type": "array", "items": ["null", "string"]}},
                ],
            },
        },
        {
            "name": "source",
            "type": {"type": "record", "name": "Source", "fields": [{"name": "lsn", "type": "long"}]},
        },
    ],
}
KEY = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]}


def test_avro_in_confluents_framing_is_applied_by_the_schema_of_each_record(
    spark: SparkSession, tmp_path: Path
) -> None:
    fastavro.parse_schema(AVRO)
    kinds = "id bigint, note string, total decimal(12,2), at timestamp, seen_at timestamp, tags array<string>"
    spec = TableSpec("silver.notes", columns(kinds), ("id",), "A table of a test.")
    row = {"id": 1, "note": "x", "total": Decimal("-1234.00"), "at": 63_072_000_000_000, "tags": ["a", None]}
    row |= {"seen_at": datetime(2026, 1, 1, tzinfo=UTC)}
    empty = row | {"id": 2, "note": None, "total": None, "tags": []}
    envelope = {"op": "c", "before": None, "source": {"lsn": 1}}
    value, second = (framed(AVRO, envelope | {"after": one}, 7) for one in (row, empty))
    key = framed(KEY, {"id": 1}, 8)
    records = [
        (key, value),
        (framed(KEY, {"id": 2}, 8), second),
        (key, value + b"!"),
        (key, b"\x00\x00\x00\x00\x63" + value[5:]),
        (key, b"x"),
    ]
    frame = spark.createDataFrame([(*one, "t", 0, n, AT) for n, one in enumerate(records)], RECORD)
    done = apply_changes(spark, frame, spec, tmp_path, {7: json.dumps(AVRO), 8: json.dumps(KEY)})
    assert done == Applied(records=5, changes=2, rejected=3, tombstones=0)
    rows = spark.read.format("delta").load(f"{tmp_path}/silver/notes").select(*spec.columns).orderBy("id").collect()
    moments = (datetime(1972, 1, 1), datetime(2026, 1, 1))
    assert [tuple(row) for row in rows] == [
        (1, "x", Decimal("-1234.00"), *moments, ["a", None]),
        (2, None, None, *moments, []),
    ]
    rejected = spark.read.format("delta").load(f"{tmp_path}/ops/quarantine/notes_changes").select("reasons").collect()
    assert sorted(row["reasons"][0] for row in rejected) == ["bad_framing", "trailing_bytes", "unknown_schema_id"]


UUID_TYPE = {"type": "string", "logicalType": "uuid"}
MEASURED = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "device", "type": UUID_TYPE},
        {"name": "rate", "type": ["null", "double"]},
        {"name": "total", "type": "double"},
        {"name": "rates", "type": {"type": "array", "items": "double"}},
        {"name": "parts", "type": {"type": "array", "items": "double"}},
        {"name": "by_name", "type": {"type": "map", "values": "double"}},
    ],
}


def test_avro_of_uuids_and_doubles_that_are_no_numbers_comes_out_as_it_is(spark: SparkSession, tmp_path: Path) -> None:
    kinds = "id bigint, device string, rate double, total decimal(12,2), rates array<double>, "
    kinds += "parts array<decimal(12,2)>, by_name map<string,double>"
    spec = TableSpec("silver.rates", columns(kinds), ("id",), "A table of a test.")
    fields = [one | {"type": MEASURED} if one["name"] == "after" else one for one in AVRO["fields"]]
    value = AVRO | {"fields": fields}
    device = UUID("0190a1b2-0000-7000-8000-000000000001")
    every = [float("nan"), float("inf"), float("-inf")]
    rows = [
        {"id": n, "device": device, "rate": one, "total": 1.5, "rates": every, "parts": [0.25], "by_name": {"a": one}}
        for n, one in enumerate([*every, 1.5])
    ]
    # A decimal is never one of these, nor what their names would be as base64.
    rows += [rows[3] | {"id": 4, "total": every[0]}, rows[3] | {"id": 5, "parts": every[:1]}]
    envelopes = [{"op": "c", "before": None, "after": one, "source": {"lsn": 1}} for one in rows]
    records = [(framed(KEY, {"id": n}, 8), framed(value, one, 7), "t", 0, n, AT) for n, one in enumerate(envelopes)]
    frame = spark.createDataFrame(records, RECORD)
    done = apply_changes(spark, frame, spec, tmp_path, {7: json.dumps(value), 8: json.dumps(KEY)})
    assert done == Applied(records=6, changes=4, rejected=2, tombstones=0)
    found = spark.read.format("delta").load(f"{tmp_path}/silver/rates").select(*spec.columns).orderBy("id").collect()
    # As text: a NaN equals nothing.
    assert [(row["device"], repr(row["rate"]), repr(row["by_name"]["a"])) for row in found] == [
        (str(device), text, text) for text in ("nan", "inf", "-inf", "1.5")
    ]
    assert {repr(row["rates"]) for row in found} == {repr(every)}
    rejected = spark.read.format("delta").load(f"{tmp_path}/ops/quarantine/rates_changes").orderBy("origin_position")
    assert [row["reasons"] for row in rejected.collect()] == [["type_does_not_fit:total"], ["type_does_not_fit:parts"]]
