"""What the low-stock query takes of a batch, and what becomes of it: rows of `ops.alerts` and messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from kafka_rows import frame_of, framed, stock_event
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakehouse import delta_io
from lakehouse.contracts.declared import inventory_schema
from lakehouse.settings import Settings
from lakehouse.tables import ALERTS, INVENTORY_EVENTS
from streaming import checkpoint, inventory_events, low_stock
from streaming.episodes import Episode, Level, step
from streaming.low_stock import LowStock, good_events
from streaming.writer_schemas import WriterSchemas

pytestmark = pytest.mark.slow

KNOWN = WriterSchemas(values={7: inventory_schema()})
REORDER_POINT, CLEAR_LEVEL = 20, 30.0
Levels = list[tuple[int, int]]
"""(sequence, on_hand) pairs in the order of their offsets."""


class Broker:
    """Takes what is produced; a queue that is never flushed is full at last, as the real client's."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self._waiting = 0

    def produce(self, topic: str, key: bytes, value: bytes, on_delivery: Callable[[Any, Any], None]) -> None:
        if self._waiting == 100_000:
            raise BufferError("Local: Queue full")
        self._waiting += 1
        self.taken.append(value)

    def flush(self, timeout: float) -> int:
        self._waiting = 0
        return 0


class Query:
    """Runs batches through the function of the query; `restart` is what a new driver has."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self.spark, self.settings, self.broker = spark, settings, Broker()
        delta_io.ensure(spark, ALERTS, settings)
        self.asked_for: list[int] = []
        self.restart()

    def asked(self, schema_id: int) -> str | None:
        """The registry's answer for a schema that was not known in advance: 8 is one of before."""
        self.asked_for.append(schema_id)
        return inventory_schema() if schema_id == 8 else None

    def restart(self) -> None:
        registry: Any = SimpleNamespace(newest=lambda _: dict(KNOWN.values), schema=self.asked)
        held: Any = SimpleNamespace(require=lambda: None)
        self.function = LowStock(self.spark, self.settings, registry, held)

    def batch(self, number: int, *levels: tuple[int, int], **others: Levels) -> list[str]:
        """Run a batch of levels of the product P1 (and of others); returns the kinds of all alerts of P1 so far."""
        pairs = [("P1", *one) for one in levels] + [(sku, *one) for sku, some in others.items() for one in some]
        events = [stock_event(sku=sku, sequence=at, on_hand=on_hand) for sku, at, on_hand in pairs]
        return self.messages(number, *[framed(inventory_schema(), event) for event in events])

    def messages(self, number: int, *values: bytes) -> list[str]:
        """Run a batch of messages; returns the kinds of all alerts of P1 so far."""
        self.function(frame_of(self.spark, list(values)).drop("_ingested_at", "_batch_id"), number)
        return self.kinds("P1")

    def kinds(self, sku: str) -> list[str]:
        rows = delta_io.read(self.spark, ALERTS, self.settings).where(f"sku = '{sku}'").orderBy("sequence")
        return [row["kind"] for row in rows.collect()]


@pytest.fixture
def query(spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Query:
    monkeypatch.setattr(low_stock, "Producer", lambda _: None)
    query = Query(spark, settings.model_copy(update={"low_stock_default_reorder_point": REORDER_POINT}))
    monkeypatch.setattr(low_stock, "Producer", lambda _: query.broker)
    query.restart()
    return query


def test_good_events_are_decoded_once_and_others_are_counted(spark: SparkSession) -> None:
    good = framed(inventory_schema(), stock_event())
    rows = frame_of(spark, [good, good[:-1], b"\x00\x00\x00\x00\x63" + good[5:]])
    frame, counts = good_events(rows.drop("_ingested_at", "_batch_id"), KNOWN, 1_000_000)
    assert [row["sku"] for row in frame.collect()] == [stock_event()["sku"]]
    assert (counts().read, counts().good, counts().doubtful) == (3, 1, 1)
    assert frame._jdf.queryExecution().optimizedPlan().toString().count("from_avro") == 1


def test_a_level_of_a_version_that_was_not_known_raises_its_alert(query: Query) -> None:
    low = stock_event(sku="P1", sequence=1, on_hand=REORDER_POINT - 1)
    assert query.messages(0, framed(inventory_schema(), low, schema_id=8)) == ["opened"]
    assert query.asked_for == [8]


def test_the_registry_is_not_asked_because_of_records_that_are_bad_for_another_reason(query: Query) -> None:
    good = framed(inventory_schema(), stock_event(sku="P1", sequence=1, on_hand=REORDER_POINT - 1))
    too_long = b"\x00\x00\x00\x00\x63" + b"x" * query.settings.max_record_bytes
    broken = framed(inventory_schema(), stock_event(sku="", sequence=2, on_hand=1))
    assert query.messages(0, good, good[:-1], b"abc", broken, too_long) == ["opened"]
    assert query.asked_for == []


def test_a_late_level_neither_hides_an_alert_of_its_zone_nor_makes_one(query: Query) -> None:
    """Each product has two batches; the first level of the second one comes too late."""
    query.batch(0, (20, 50), P2=[(19, 30), (20, 10)], P3=[(19, 50), (20, 10)], P4=[(10, 50), (15, 50)])
    query.batch(1, (15, 5), (21, 4), P2=[(15, 0), (21, 0)], P3=[(15, 60), (21, 70)], P4=[(12, 5)])
    found = {sku: query.kinds(sku) for sku in ("P1", "P2", "P3", "P4")}
    assert found == {"P1": ["opened"], "P2": ["opened", "escalated"], "P3": ["opened", "closed"], "P4": []}


def folded(batches: list[Levels]) -> tuple[Episode | None, list[str]]:
    """What all levels of a key do, each batch in the order of its sequences: its last state, and the alerts."""
    known: Episode | None = None
    kinds = []
    for batch in batches:
        for at, on_hand in sorted(batch):
            level = Level("", "W1", on_hand, at, datetime(2026, 1, 1))
            known, kind = step(known, level, REORDER_POINT, CLEAR_LEVEL)
            kinds += [kind] if kind else []
    return known, kinds


def cut(random: Random, levels: Levels, batches: int) -> list[Levels]:
    at = sorted(random.choices(range(len(levels) + 1), k=batches - 1))
    return [levels[begin:end] for begin, end in zip([0, *at], [*at, len(levels)], strict=True)]


def test_a_new_driver_knows_the_sequences_of_batches_that_are_done_and_of_no_others(
    query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [("P1", 20, 50), ("P2", 20, 50), ("P2", 25, 5), ("P3", 20, 10), ("P3", 22, 12)]
    events = [stock_event(sku=sku, sequence=at, on_hand=on_hand) for sku, at, on_hand in levels]
    rows = frame_of(query.spark, [framed(inventory_schema(), event) for event in events])
    good = inventory_events.transform(rows.withColumn("_ingested_at", F.current_timestamp()), KNOWN, 1_000_000)
    delta_io.append(good.select(*INVENTORY_EVENTS.columns), INVENTORY_EVENTS, query.settings)
    # The event of P2 at 25 (offset 2) is in Bronze, but no batch of this query has had it.
    query.batch(0, P3=[(20, 10)])
    monkeypatch.setattr(checkpoint, "committed_positions", lambda *_: {("topic", 0): 2})
    query.restart()
    query.batch(1, (15, 5), P2=[(15, 4), (25, 5)], P3=[(22, 12)])
    assert [query.kinds(sku) for sku in ("P1", "P2", "P3")] == [[], ["opened"], ["opened"]]
    opened_at = {sku: one.opened_at_sequence for (sku, _), one in query.function._episodes.items()}
    assert opened_at == {"P1": None, "P2": 25, "P3": 20}


def test_what_is_left_out_of_the_fold_changes_nothing_in_any_order_and_cut(query: Query) -> None:
    random = Random(7)
    expected: dict[str, list[Levels]] = {}
    for number in range(200):
        levels = [(at, random.choice((0, 0, 4, 10, 20, 25, 30, 40, 60))) for at in range(random.randint(1, 14))]
        random.shuffle(levels)
        expected[f"R{number}"] = cut(random, levels, batches=3)
    for number in range(3):
        query.batch(number, **{sku: batches[number] for sku, batches in expected.items()})
    rows = delta_io.read(query.spark, ALERTS, query.settings).orderBy("sequence").collect()
    for sku, batches in expected.items():
        state, kinds = folded(batches)
        last = query.function._episodes[sku, "W1"]
        assert [row["kind"] for row in rows if row["sku"] == sku] == kinds, batches
        assert state is not None
        assert (last.sequence, last.is_escalated) == (state.sequence, state.is_escalated), batches
        assert (last.opened_at_sequence is None) == (state.opened_at_sequence is None), batches
        newest, on_hand = max(level for batch in batches for level in batch)
        assert last.sequence == newest
        if not REORDER_POINT < on_hand <= CLEAR_LEVEL:
            # Whatever came before, and in whichever order.
            assert (last.opened_at_sequence is not None) == (on_hand <= REORDER_POINT), batches


def test_a_batch_number_that_comes_again_with_other_events_loses_no_alert(query: Query) -> None:
    """As with a checkpoint that was restored: the same query counts the same numbers over other events."""
    assert query.batch(0, (1, 10)) == ["opened"]
    query.restart()
    assert query.batch(0, (1, 10), (2, 0)) == ["opened", "escalated"]
    query.restart()
    assert query.batch(0, (3, 40)) == ["opened", "escalated", "closed"]


def test_a_batch_that_is_run_again_adds_no_row(query: Query) -> None:
    levels = [(1, 10), (2, 0), (3, 40), (4, 5), (5, 6)]
    once = query.batch(0, *levels)
    assert once == ["opened", "escalated", "closed", "opened"]
    assert query.batch(0, *levels) == once
    query.restart()
    assert query.batch(0, *levels) == once


def test_the_alerts_of_the_batch_before_a_crash_are_published_again_in_their_order(query: Query) -> None:
    query.batch(0, (1, 10), (2, 0), P2=[(3, 5)])
    published = list(query.broker.taken)
    query.restart()
    query.batch(0, (1, 10), (2, 0), P2=[(3, 5)])
    assert query.broker.taken == published * 2


def test_an_alert_that_could_not_be_written_is_found_again_by_the_same_batch(
    query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(delta_io, "append", fail)
        with pytest.raises(OSError, match="disk full"):
            query.batch(0, (1, 10))
    assert query.broker.taken == []
    assert query.batch(0, (1, 10)) == ["opened"]


def test_more_alerts_than_the_producers_queue_takes_are_published(query: Query) -> None:
    at = datetime(2026, 1, 1)
    alerts = [low_stock._alert(Level("P1", "W1", 0, number, at), "opened", number, 20, 0) for number in range(100_001)]
    query.function._publish(alerts)
    assert len(query.broker.taken) == 100_001
