"""An object counts as taken when Bronze holds the commit of the batch that took it, and for no other batch's sake."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, Transaction, write_deltalake

from lakehouse.delta_io import Mark
from lakehouse.settings import Settings
from streaming.object_notifications import NotifiedObject
from streaming.object_register import Register, settled, version_of

DAY = date(2026, 11, 23)
STREAM, DEAD = "bronze.click_events/lives", "bronze.click_events/dead"
SCHEMA = pa.schema(
    {
        "landed_on": pa.date32(),
        "address": pa.string(),
        "etag": pa.string(),
        "size_bytes": pa.int64(),
        "outcome": pa.string(),
        "_application": pa.string(),
        "_batch_id": pa.int64(),
    }
)


def taken(name: str, batch: int, application: str = STREAM, outcome: str = "read", day: date | None = DAY) -> Any:
    one = notified(name, day)
    return (day, one.address, one.etag, one.size, outcome, application, batch)


def notified(name: str, day: date | None = DAY) -> NotifiedObject:
    return NotifiedObject("landing", f"clicks/date={day}/{name}" if day else f"clicks/{name}", 1, "e")


@pytest.fixture
def lake(settings: Settings) -> Settings:
    """Bronze holds the batches 0 and 1 of one stream, and none of another."""
    rows = [
        taken("first", 0),
        taken("second", 1),
        taken("never committed", 2),
        taken("of a dead driver", 0, DEAD),
        taken("missing", 0, outcome="missing_object"),
        taken("truncated", 0, outcome="unreadable_object"),
        taken("of another day", 0, day=date(2026, 11, 24)),
        taken("of no day", 0, day=None),
    ]
    table = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA)
    write_deltalake(f"{settings.warehouse}/ops/click_objects", table, partition_by=["landed_on"])
    mark = CommitProperties(app_transactions=[Transaction(STREAM, 1)])
    write_deltalake(f"{settings.warehouse}/bronze/click_events", pa.table({"n": [1]}), commit_properties=mark)
    return settings


def names(versions: Any) -> set[str]:
    return {address.rsplit("/", 1)[-1] for address, *_ in versions}


def test_only_what_committed_batches_settled_counts(lake: Settings) -> None:
    assert names(settled(lake, [DAY])) == {"first", "second", "truncated"}


def test_keys_without_a_day_are_known_too(lake: Settings) -> None:
    assert names(settled(lake, [None])) == {"of no day"}
    assert names(settled(lake, [None, date(2026, 11, 24)])) == {"of no day", "of another day"}


def test_a_batch_that_runs_again_does_not_find_its_own_objects(lake: Settings) -> None:
    objects = [notified("first"), notified("second")]
    assert names(Register(lake).known(objects, Mark(STREAM, 1))) == {"first"}


def test_another_content_or_size_under_the_same_key_is_another_version(lake: Settings) -> None:
    one = notified("first")
    changed = [NotifiedObject(one.bucket, one.key, 1, "other"), NotifiedObject(one.bucket, one.key, 2, one.etag)]
    assert Register(lake).known(changed, Mark(STREAM, 2)) == set()


def test_what_a_batch_took_is_known_from_the_next_batch_on(lake: Settings) -> None:
    register, new = Register(lake), notified("new")
    assert register.known([new], Mark(STREAM, 2)) == set()
    register.add(Mark(STREAM, 2), {version_of(new)})
    assert register.known([new], Mark(STREAM, 2)) == set()
    assert names(register.known([new], Mark(STREAM, 3))) == {"new"}


def test_nothing_is_known_before_the_first_batch(settings: Settings) -> None:
    assert Register(settings).known([notified("first")], Mark(STREAM, 0)) == set()
