"""What can befall an object between the bucket and Bronze: each case has its outcome, and the ledger accounts for it.

Two batches on the real S3-compatible server and Kafka: everything at once, then repeats and repairs.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from click.testing import CliRunner
from deltalake import write_deltalake
from landing import DAY, Landing, body, click, own_topic
from pyspark.sql import SparkSession

from lakehouse import direct_read, lease
from lakehouse.append import Append
from lakehouse.delta_io import Mark
from lakehouse.ledger_entry import Entry
from lakehouse.session import point_at_store
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_OBJECTS
from streaming import click_events, object_recount, queries
from streaming.commands import ledger
from streaming.ledger_verify import LedgerDiffers, verify
from streaming.object_notifications import NotifiedObject
from streaming.object_reconciliation import Reconciliation, reconcile
from streaming.writer_schemas import Registry

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]
TOPIC = "faulty.click.objects"
PREFIX = "faulty/"


def s3_event(one: NotifiedObject) -> bytes:
    put = {"key": quote_plus(one.key), "size": one.size, "eTag": one.etag}
    s3 = {"bucket": {"name": one.bucket}, "object": put}
    return json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": s3}]}).encode()


def resized(one: NotifiedObject, size: int) -> NotifiedObject:
    return NotifiedObject(one.bucket, one.key, size, one.etag)


@pytest.fixture(scope="module")
def settings(stack: Settings, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A topic, a prefix and a home of this test alone."""
    home: Path = tmp_path_factory.mktemp("faulty")
    own = stack.model_copy(update={"home": home, "click_objects_topic": TOPIC, "landing_prefix": PREFIX})
    own_topic(own)
    point_at_store(spark, own)
    return own


def catch_up(spark: SparkSession, settings: Settings) -> None:
    registry = Registry(settings, threading.Event())
    stream = click_events.stream(settings)
    with lease.hold(queries.lease_of(stream), settings) as held:
        queries.start(spark, settings, stream, registry, held, until_caught_up=True).awaitTermination()


@dataclass(frozen=True)
class Story:
    """What was put, and what the reconciliations found before and after the last batch."""

    objects: dict[str, NotifiedObject]
    reconciled: Reconciliation
    at_the_end: Reconciliation


@pytest.fixture(scope="module")
def story(settings: Settings, spark: SparkSession) -> Story:
    landing = Landing(settings)
    objects = _everything_at_once(landing)
    catch_up(spark, settings)
    _repeats_and_repairs(landing, objects)
    _a_batch_that_never_reached_bronze(spark, settings, objects["orphan"])
    reconciled = reconcile(settings, [DAY])
    catch_up(spark, settings)
    return Story(objects, reconciled, reconcile(settings, [DAY]))


def _everything_at_once(landing: Landing) -> dict[str, NotifiedObject]:
    put = landing.put
    objects = {
        "good": put("good.jsonl", body("good-1", "good-2")),
        "old": put("old.jsonl", body("old-1"), day=date(2026, 9, 1)),
        "zipped": put("zipped é+1.jsonl.gz", gzip.compress(body("zipped-1", "zipped-2"))),
        "truncated": put("truncated.jsonl.gz", gzip.compress(body(*map(str, range(500))))[:-20]),
        "empty": put("empty.jsonl", b""),
        "sized": put("sized.jsonl", body("sized-1")),
        "rewritten": put("rewritten.jsonl", body("rewritten-1")),
        "replaced": put("replaced.jsonl", body("never-seen")),
        "deleted": put("deleted.jsonl", body("never-seen")),
        "windows": put("windows.jsonl", b"\xef\xbb\xbf" + click("windows-1") + b"\r\n\r\n" + click("windows-2")),
        "broken": put("broken.jsonl", click("broken-1") + b"\n" + b'{"event_id":"\xff"}\n' + click("broken-2")),
    }
    objects["replaced by"] = put("replaced.jsonl", body("replaced-1"))
    landing.remove(objects["deleted"])
    plain = ("good", "old", "truncated", "empty", "rewritten", "replaced", "deleted", "windows", "broken")
    landing.tell(*(objects[name] for name in plain))
    landing.tell(objects["good"], s3_event(objects["zipped"]), resized(objects["sized"], 3))
    landing.tell(b"nobody understands this", json.dumps({"Event": "s3:TestEvent"}).encode())
    return objects


def _repeats_and_repairs(landing: Landing, objects: dict[str, NotifiedObject]) -> None:
    landing.tell(objects["good"], s3_event(objects["good"]), objects["truncated"], objects["replaced by"])
    objects["repaired"] = landing.put("truncated.jsonl.gz", gzip.compress(body("repaired-1")))
    objects["rewritten as"] = landing.put("rewritten.jsonl", body("rewritten-2"))
    landing.tell(objects["repaired"], objects["rewritten as"])
    # Nobody tells of these two; the keys are older than others that were read.
    objects["late"] = landing.put("a-late.jsonl", body("late-1"))
    objects["orphan"] = landing.put("orphan.jsonl", body("orphan-1"))


def _a_batch_that_never_reached_bronze(spark: SparkSession, settings: Settings, one: NotifiedObject) -> None:
    """What a driver leaves behind that dies before its Bronze commit and whose checkpoint is lost, too."""
    mark = Mark("bronze.click_events/dead", 0)
    place = (TOPIC, 0, 0, mark.application, mark.batch)
    row = (DAY, one.address, one.etag, one.size, 1, "read", *place)
    register = Append(spark, CLICK_OBJECTS, settings)
    register.write(spark.createDataFrame([row], CLICK_OBJECTS.schema))
    register.commit({mark.application: mark.batch}, "")


def in_bronze(settings: Settings, columns: str = "event_id") -> list[tuple[Any, ...]]:
    connection = direct_read.connect(settings, "bronze.click_events")
    return direct_read.rows(connection, f'select {columns} from "bronze"."click_events" order by all')


def rejected(settings: Settings) -> Iterator[tuple[str, str, int, bytes]]:
    """Reason, name of the object (or place of the notification), position, original bytes."""
    connection = direct_read.connect(settings, "ops.quarantine/click_events")
    sql = 'select reasons, origin, origin_position, raw_value from "ops"."quarantine/click_events" order by all'
    for reasons, origin, position, raw in direct_read.rows(connection, sql):
        yield "+".join(reasons), origin.rsplit("/", 1)[-1], position, raw


def entries(settings: Settings) -> list[Entry]:
    return list(direct_read.ledger_entries(settings, "click_events"))


READ = ("good-1", "good-2", "old-1", "zipped-1", "zipped-2", "rewritten-1", "windows-1", "windows-2", "broken-1")
LATER = ("broken-2", "repaired-1", "rewritten-2", "replaced-1", "late-1", "sized-1", "orphan-1")


def test_every_line_of_every_readable_version_is_in_bronze_once(settings: Settings, story: Story) -> None:
    assert Counter(row[0] for row in in_bronze(settings)) == Counter(READ + LATER)


def test_lines_are_numbered_from_one_in_the_version_that_was_read(settings: Settings, story: Story) -> None:
    found = {row[0]: row[1:] for row in in_bronze(settings, "event_id, _source_line, _source_file, _etag")}
    zipped, rewritten = story.objects["zipped"], story.objects["rewritten as"]
    assert found["zipped-2"] == (2, zipped.address, zipped.etag)
    # A blank line has a number, too.
    assert found["windows-2"][0] == 3
    assert found["rewritten-2"] == (1, rewritten.address, rewritten.etag)


def test_what_can_not_be_read_is_in_the_quarantine_once_by_name(settings: Settings, story: Story) -> None:
    found = list(rejected(settings))
    assert sorted(row[:3] for row in found) == [
        ("bad_notification", "0", 12),
        ("invalid_utf8", "broken.jsonl", 2),
        ("missing_object", "deleted.jsonl", 0),
        ("overwritten_object", "replaced.jsonl", 0),
        ("unreadable_object", "truncated.jsonl.gz", 0),
        ("wrong_size", "sized.jsonl", 0),
    ]
    raw = {row[0]: row[3] for row in found}
    assert raw["bad_notification"] == b"nobody understands this"
    assert raw["invalid_utf8"] == b'{"event_id":"\xff"}'
    # A fault of a whole object keeps its notification.
    assert raw["unreadable_object"] == story.objects["truncated"].to_json()


def test_every_batch_balances_and_tells_what_became_of_its_objects(settings: Settings, story: Story) -> None:
    first, second = entries(settings)
    assert first.balances
    assert second.balances
    assert (first.rows_read, first.rows_written, first.filtered) == (17, 10, {"blank_line": 1})
    assert first.objects["outcomes"] == {
        "bad_notification": 1,
        "missing_object": 1,
        "overwritten_object": 1,
        "read": 7,
        "redelivered": 1,
        "unreadable_object": 1,
        "wrong_size": 1,
    }
    assert first.objects["ignored"] == {"test_event": 1}
    assert first.redelivered == 1
    listed = {(address, etag): (size, lines) for address, etag, size, lines, _ in first.objects["listed"]}
    zipped, empty = story.objects["zipped"], story.objects["empty"]
    assert listed[zipped.address, zipped.etag] == (zipped.size, 2)
    assert listed[empty.address, empty.etag] == (0, 0)


def test_objects_that_bronze_holds_are_dropped_and_counted(settings: Settings, story: Story) -> None:
    second = entries(settings)[1]
    # good twice, truncated once; three versions that were told of are found again by the reconciliation.
    assert second.redelivered == 6
    assert second.objects["outcomes"] == {"read": 6, "redelivered": 6}
    assert (second.rows_written, second.quarantined) == (6, {})


def test_the_reconciliation_announces_exactly_what_bronze_does_not_hold(story: Story) -> None:
    # Known: good, zipped, empty, windows, broken. Not known: sized, late, orphan, and three that are told of only now.
    assert story.reconciled == Reconciliation(listed=11, known=5, announced=6, incomplete=0)
    assert story.at_the_end == Reconciliation(listed=11, known=11, announced=0, incomplete=0)


def test_the_objects_of_the_bucket_are_counted_again(settings: Settings, story: Story) -> None:
    findings = {one.name.partition(": ")[2]: one for one in verify(settings, with_broker=False)}
    assert [str(one) for one in findings.values() if not one.agrees] == []
    assert findings["batches whose objects are in the register"].expected == 2
    # truncated, sized (as it was told of first), replaced (before it was) and deleted.
    assert findings["objects that could not be read, and are in the quarantine"].expected == 4
    again = findings["objects counted again in the bucket"]
    # Seven of the first batch, of which one was overwritten since; six of the second.
    assert (again.expected, again.note) == (12, "1 overwritten since")


def test_a_sample_of_the_objects_says_so(settings: Settings, story: Story) -> None:
    *_, again = object_recount.findings(settings, entries(settings), at_most=0)
    assert str(again).endswith("objects counted again in the bucket: 0 = 0 (13 of 13 were not chosen, see --objects)")
    outcome = CliRunner().invoke(ledger, ["verify", "--no-broker", "--objects", "many"], obj=settings)
    assert "neither a number nor 'all'" in outcome.output


def test_an_object_that_is_gone_is_no_difference(settings: Settings, story: Story) -> None:
    Landing(settings).remove(story.objects["old"])
    *_, again = object_recount.findings(settings, entries(settings))
    assert str(again).endswith("11 = 11 (1 deleted since; 1 overwritten since)")


def test_a_line_that_bronze_lost_is_found_and_named(settings: Settings, story: Story) -> None:
    table = direct_read.open_table(settings, "bronze.click_events")
    assert table is not None
    table.alter.set_table_properties({"delta.appendOnly": "false"})
    table.delete("event_id = 'zipped-2'")
    outcome = CliRunner().invoke(ledger, ["verify", "--no-broker", "--objects", "all"], obj=settings)
    zipped = story.objects["zipped"].address
    assert f"11 DIFFERS FROM 10 ({zipped}: 2 lines (0 blank), 2 in the register, 1 in 1 rows)" in outcome.output
    assert isinstance(outcome.exception, LedgerDiffers)


def test_a_line_that_bronze_holds_twice_is_found(settings: Settings, story: Story) -> None:
    table = direct_read.open_table(settings, "bronze.click_events")
    assert table is not None
    rows = table.to_pyarrow_dataset().to_table()
    place = rows["event_id"].to_pylist().index("windows-1")
    write_deltalake(table, rows.slice(place, 1), mode="append")
    *_, again = object_recount.findings(settings, entries(settings))
    assert f"{story.objects['windows'].address}: 3 lines (1 blank), 3 in the register, 2 in 3 rows" in again.note


def test_an_object_that_the_register_lacks_is_found(settings: Settings, story: Story) -> None:
    table = direct_read.open_table(settings, CLICK_OBJECTS.name)
    assert table is not None
    table.delete(f"address = '{story.objects['good'].address}'")
    register, *_ = object_recount.findings(settings, entries(settings))
    assert str(register).endswith("2 DIFFERS FROM 1 (batch 0)")
