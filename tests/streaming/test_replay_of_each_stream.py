"""Changes and clicks come back through the transform of their own stream, with headers, keys and lines as they were."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, cast

import pytest
from kafka_rows import ARRIVED, frame_of, framed
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rejected_rows import KnownIds, LeaseOfTest, ask, bronze, reject

from lakehouse import delta_io, few_rows
from lakehouse.append import Append
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, CLICK_OBJECTS, HEARTBEATS
from streaming import changes, click_events, ledger_verify, replay
from streaming.stamps import stamped
from streaming.writer_schemas import Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields.items()]}


SOURCE = record("Source", ts_ms="long", snapshot="string", sequence="string", txId="long", lsn="long")
BEAT = record("Beat", id="int", beat="long", beat_at="string")
ENVELOPE = record("Envelope", before=["null", BEAT], after=["null", "Beat"], source=SOURCE, op="string")
KEY = record("Key", id="int")
EVENT = {"event_id": "e1", "user_id": "u", "session_id": "s", "event_type": "page_view", "page_url": "/"}
LINE = json.dumps(EVENT | {"timestamp": "2026-11-23T11:00:00Z", "properties": {"product_id": "P1"}})
REGISTRY = KnownIds({7: json.dumps(ENVELOPE), 5: json.dumps(KEY)})


def differing(settings: Settings) -> list[str]:
    return [str(one) for one in ledger_verify.verify(settings, with_broker=False) if not one.agrees]


def test_a_change_comes_back_with_its_key_and_headers(spark: SparkSession, settings: Settings) -> None:
    stream = changes.stream(HEARTBEATS, settings)
    source = {"ts_ms": 1_795_400_000_000, "snapshot": "false", "sequence": '[null,"42"]', "txId": 9, "lsn": 42}
    image = {"id": 1, "beat": 5, "beat_at": "2026-11-23T10:00:00Z"}
    change = framed(ENVELOPE, {"before": None, "after": image, "source": source, "op": "u"}, 7)
    key = framed(KEY, {"id": 1}, 5)
    header = F.array(
        F.struct(F.lit(changes.INCARNATION_HEADER).alias("key"), F.lit("7:1").cast("binary").alias("value"))
    )
    # Its tombstone has no value: only the key says which schema it needs. The last has no key, and never will.
    raw = frame_of(spark, [change, None, change], [key, key, None]).withColumn("headers", header)
    reject(spark, settings, stream, raw)
    answer = replay.execute(spark, settings, stream, cast(Registry, REGISTRY), ask(stream), LeaseOfTest())
    assert answer.counts == {"replayed": 1, "discarded": 1, "still_bad": 1}
    said = {row["outcome"]: (row["reasons"], row["why"]) for row in answer.rows}
    assert said["discarded"] == (None, "filtered as tombstone")
    assert said["still_bad"] == (["missing_key"], "")
    (row,) = bronze(spark, settings, stream)
    assert (row["key"]["id"], row["after"]["beat"], row["lsn"], row["source_incarnation"]) == (1, 5, 42, "7:1")
    assert (row["_offset"], row["_kafka_at"], row["_replayed_at"] is None) == (0, ARRIVED, False)
    assert differing(settings) == []


def lines_of(spark: SparkSession, places: list[tuple[Any, ...]]) -> DataFrame:
    """Lines of objects as they were read: offset of the notification, line, fault, object, bytes."""
    schema = "_offset bigint, _source_line bigint, _object_fault string, _source_file string, value string"
    return spark.createDataFrame(places, schema).withColumns(
        {
            # A notification that can't be read names no version.
            "_etag": F.when(F.col("_source_file") != "topic", "etag"),
            "_topic": F.lit("topic"),
            "_partition": F.lit(0),
            "_kafka_at": F.lit(ARRIVED),
        }
    )


def test_an_object_that_was_announced_twice_and_never_read_is_two_rejected_rows(
    spark: SparkSession, settings: Settings
) -> None:
    stream = click_events.stream(settings)
    places = [(offset, 0, "missing_object", "clicks/a.jsonl", "{}") for offset in (3, 9)]
    reject(spark, settings, stream, stamped(click_events.unread(lines_of(spark, places)), F.lit(ARRIVED), F.lit(0)))
    request = ask(stream, is_dry_run=True)
    assert replay.execute(spark, settings, stream, cast(Registry, REGISTRY), request, LeaseOfTest()).counts == {
        "still_bad": 2
    }
    assert differing(settings) == []


def test_a_line_comes_back_and_an_object_that_was_not_read_does_not(spark: SparkSession, settings: Settings) -> None:
    places = [
        (3, 1, None, "clicks/a.jsonl", LINE),
        (3, 2, None, "clicks/a.jsonl", '{"half'),
        (3, 1, None, "clicks/b.jsonl", LINE),
        (3, 0, "missing_object", "clicks/c.jsonl", '{"key": "clicks/c.jsonl"}'),
        (3, 7, "bad_notification", "topic", "nonsense"),
    ]
    lines = lines_of(spark, places)
    strict = click_events.stream(settings.model_copy(update={"max_record_bytes": 5}))
    reject(spark, settings, strict, stamped(click_events.unread(lines), F.lit(ARRIVED), F.lit(0)))
    stream = click_events.stream(settings)
    answer = replay.execute(spark, settings, stream, cast(Registry, REGISTRY), ask(stream), LeaseOfTest())
    assert answer.counts == {"replayed": 2, "still_bad": 3}
    bad = sorted(row["reasons"][0] for row in answer.rows if row["reasons"])
    assert bad == ["bad_notification", "malformed_json", "missing_object"]
    rows = {(row["_source_file"], row["_source_line"]): row for row in bronze(spark, settings, stream)}
    assert rows.keys() == {("clicks/a.jsonl", 1), ("clicks/b.jsonl", 1)}
    row = rows["clicks/a.jsonl", 1]
    assert (row["product_id"], row["timestamp"], row["_etag"]) == ("P1", datetime(2026, 11, 23, 11), "etag")
    assert differing(settings) == []


def register(spark: SparkSession, settings: Settings, outcomes: list[tuple[str, int, str]]) -> None:
    """What a committed batch says of objects: address, offset of the notification, outcome."""
    names = ("address", "_offset", "outcome")
    same = {"etag": "etag", "_topic": "topic", "_partition": 0, "_application": "clicks", "_batch_id": 0}
    rows = [dict(zip(names, one, strict=True)) | same for one in outcomes]
    delta_io.append(few_rows.frame(spark, rows, CLICK_OBJECTS.schema), CLICK_OBJECTS, settings)
    Append(spark, CLICK_EVENTS, settings).commit({"clicks": 0}, "")


def test_a_line_that_only_a_cut_off_try_saw_comes_back_with_its_object_and_once(
    spark: SparkSession, settings: Settings
) -> None:
    # Both objects were gone when the batch was repeated; one was put back, and its line is rejected a second time.
    places = [
        (3, 1, None, "clicks/back.jsonl", LINE),
        (9, 1, None, "clicks/back.jsonl", LINE),
        (3, 1, None, "clicks/gone.jsonl", LINE),
    ]
    lines = stamped(click_events.unread(lines_of(spark, places)), F.lit(ARRIVED), F.lit(0))
    reject(spark, settings, click_events.stream(settings.model_copy(update={"max_record_bytes": 5})), lines)
    missing = [(f"clicks/{name}.jsonl", 3, "missing_object") for name in ("back", "gone")]
    register(spark, settings, [*missing, ("clicks/back.jsonl", 9, "read")])
    stream = click_events.stream(settings)
    answer = replay.execute(spark, settings, stream, cast(Registry, REGISTRY), ask(stream), LeaseOfTest())
    assert answer.counts == {"replayed": 1, "discarded": 1, "still_bad": 1}
    said = {row["outcome"]: (row["reasons"], row["why"]) for row in answer.rows}
    assert said["still_bad"] == (["missing_object"], "")
    assert said["discarded"] == (None, "filtered as read_again")
    (row,) = bronze(spark, settings, stream)
    assert (row["_source_file"], row["_offset"]) == ("clicks/back.jsonl", 9)
