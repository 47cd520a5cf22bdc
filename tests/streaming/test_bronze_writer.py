"""A batch is committed whole, once, and only when all who counted it agree; what died in between changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from kafka_rows import KAFKA_ROW, framed, stock_event
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rejected_rows import TOPIC, KnownIds, LeaseOfTest

from lakehouse import delta_io, direct_read
from lakehouse.append import Append
from lakehouse.contracts.declared import inventory_schema
from lakehouse.errors import BatchDoesNotBalance
from lakehouse.kafka_offsets import TopicLog
from lakehouse.ledger_entry import Entry
from lakehouse.positions import CLOSED, Place
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS, quarantine_of
from streaming import bronze_writer, checkpoint, inventory_events, witness
from streaming.bronze_writer import BronzeStream, BronzeWriter
from streaming.expansion import Expanded, Taken, TakenObject
from streaming.ledger_verify import verify
from streaming.writer_schemas import Registry, WriterSchemas

# Each test makes tables of its own.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCHEMA = inventory_schema()


class DriverDied(BaseException):
    """Stands for the end of the process at a kill point."""


@dataclass
class Ground:
    """One stream on one partition, without a broker: what it promises, holds and answers is written by hand."""

    spark: SparkSession
    settings: Settings
    patch: pytest.MonkeyPatch
    topic_id: str = "id"
    told_by_witness: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.patch.setattr(bronze_writer, "TopicLogs", lambda _: self)
        self.patch.setattr(witness, "committed_records", self._witness)
        delta_io.ensure(self.spark, INVENTORY_EVENTS, self.settings)
        self.begin_checkpoint()

    def describe(self, _: Collection[str]) -> dict[str, TopicLog]:
        """What the broker would say of the topic."""
        return {TOPIC: TopicLog(self.topic_id, {0: 0}, {0: 1_000})}

    def _witness(self, *_: Any) -> dict[str, int]:
        assert self.told_by_witness is not None, "nobody was to be asked"
        return {"all": self.told_by_witness}

    def begin_checkpoint(self, at: int = 0) -> None:
        """A new checkpoint, with an id of its own."""
        self.folder = Path(checkpoint.location(INVENTORY_EVENTS, self.settings))
        self._save("metadata", {"id": f"q{at}{self.topic_id}"})
        self._save("sources/0/0", {TOPIC: {"0": at}})

    def _save(self, name: str, values: dict[str, Any]) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(json.dumps(values), "utf-8")

    def run(
        self,
        end: int,
        offsets: Collection[int] | None = None,
        rejects: Collection[int] = (),
        number: int = 0,
        dies_at: str = "",
        reason: str = "unfit",
    ) -> None:
        """Write batch `number`, promised up to offset `end`, with a record at each of `offsets` (all of batch 0)."""
        self._save(f"offsets/{number}", {TOPIC: {"0": end}})
        values = range(end) if offsets is None else offsets
        rows = [(b"key", framed(SCHEMA, stock_event(event_id=f"e{one}")), TOPIC, 0, one) for one in values]
        more = {name: F.lit(None) for name in ("headers", "_ingested_at", "_batch_id", "_replayed_at")}
        frame = self.spark.createDataFrame(rows, "key binary, value binary, topic string, partition int, offset bigint")
        frame = frame.withColumns({"timestamp": F.lit("2026-11-23 12:00:00")} | more)
        kinds = [f"cast({one.split()[0]} as {one.split()[1]})" for one in KAFKA_ROW.split(", ")]
        self._writer(rejects, dies_at, reason)(frame.selectExpr(*kinds), number)

    def _writer(self, rejects: Collection[int], dies_at: str, reason: str) -> BronzeWriter:
        def transform(raw: DataFrame, _: WriterSchemas) -> DataFrame:
            judged = inventory_events.transform(raw, WriterSchemas(values={7: SCHEMA}))
            is_unfit = F.col("_offset").isin(list(rejects))
            return judged.withColumns({"_is_good": ~is_unfit, "_reasons": F.when(is_unfit, F.array(F.lit(reason)))})

        def reach(point: str) -> None:
            if point == dies_at:
                raise DriverDied

        self.patch.setattr(bronze_writer, "reach", reach)
        stream = replace(inventory_events.stream(self.settings), topics=(TOPIC,), transform=transform, **self.changes)
        return BronzeWriter(self.settings, cast(BronzeStream, stream), cast(Registry, NoSchemas()), LeaseOfTest())

    def bronze(self) -> list[int]:
        """The offsets of the rows in Bronze."""
        return self._offsets(INVENTORY_EVENTS.name)

    def quarantine(self) -> list[int]:
        """The offsets of the rows in the quarantine."""
        return self._offsets(quarantine_of(INVENTORY_EVENTS.table).name)

    def _offsets(self, name: str) -> list[int]:
        if direct_read.open_table(self.settings, name) is None:
            return []
        layer, _, short = name.partition(".")
        connection = direct_read.connect(self.settings, name)
        return [row[0] for row in direct_read.rows(connection, f'select _offset from "{layer}"."{short}" order by 1')]

    def entries(self) -> list[Entry]:
        return list(direct_read.ledger_entries(self.settings, INVENTORY_EVENTS.table))

    def move(self, positions: dict[str, int]) -> None:
        """Commit positions to both tables, as an accepted gap does."""
        for spec in (INVENTORY_EVENTS, quarantine_of(INVENTORY_EVENTS.table)):
            Append(self.spark, spec, self.settings).commit(positions, "{}")

    def assert_nothing_is_there(self) -> None:
        """Neither a commit, nor a file that nobody would read."""
        assert self.bronze() == self.entries() == []
        assert list(Path(INVENTORY_EVENTS.path(self.settings)).glob("*.parquet")) == []


class NoSchemas(KnownIds):
    """A registry that does not answer in advance."""

    def newest(self, _: str) -> dict[int, str]:
        return {}


@pytest.fixture
def ground(spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Ground:
    return Ground(spark, settings, monkeypatch)


@pytest.fixture
def cut_off(ground: Ground) -> Ground:
    """Six records, of which 1 and 4 were rejected when the driver died between the two targets."""
    with pytest.raises(DriverDied):
        ground.run(6, rejects=[1, 4], dies_at="between_targets")
    ground.assert_nothing_is_there()
    assert ground.quarantine() == [1, 4]
    return ground


def test_a_batch_that_was_cut_off_is_finished_by_the_next_driver(cut_off: Ground) -> None:
    cut_off.run(6, rejects=[1, 4])
    assert (cut_off.bronze(), cut_off.quarantine()) == ([0, 2, 3, 5], [1, 4])


@pytest.mark.parametrize("now", [[2, 4], [4], []], ids=["others", "fewer", "none"])
def test_a_rejected_row_that_would_be_good_now_stays_rejected(cut_off: Ground, now: list[int]) -> None:
    cut_off.run(6, rejects=now, reason="unfit now")
    rejected, new = sorted({1, 4, *now}), len({*now} - {1, 4})
    assert (cut_off.bronze(), cut_off.quarantine()) == (sorted({*range(6)} - {*rejected}), rejected)
    assert cut_off.entries()[0].quarantined == {"unfit": 2} | ({"unfit now": new} if new else {})


def test_a_rejected_row_that_the_source_does_not_give_again_is_counted(cut_off: Ground) -> None:
    cut_off.told_by_witness = 5
    cut_off.run(6, [0, 1, 2, 3, 5], rejects=[1])
    assert (cut_off.bronze(), cut_off.quarantine()) == ([0, 2, 3, 5], [1, 4])
    (entry,) = cut_off.entries()
    # Six offsets were promised: the record that is gone is counted once, and not as a hole too.
    assert (entry.rows_promised, entry.rows_read, entry.rows_quarantined) == (6, 6, 2)
    assert (entry.vanished, entry.offset_holes) == (1, 0)


def test_a_row_that_is_rejected_only_now_joins_the_others(cut_off: Ground) -> None:
    cut_off.run(6, rejects=[1, 2, 4])
    assert (cut_off.bronze(), cut_off.quarantine()) == ([0, 3, 5], [1, 2, 4])
    assert cut_off.entries()[0].rows_quarantined == 3


def test_a_batch_may_end_before_the_one_that_was_cut_off(cut_off: Ground) -> None:
    cut_off.run(3, rejects=[1])
    cut_off.run(6, [3, 4, 5], rejects=[4], number=1)
    assert (cut_off.bronze(), cut_off.quarantine()) == ([0, 2, 3, 5], [1, 4])
    assert [one.rows_quarantined for one in cut_off.entries()] == [1, 1]


def test_rejected_rows_of_an_earlier_topic_are_not_those_of_a_batch_that_was_cut_off(ground: Ground) -> None:
    ground.run(6, rejects=[1, 4])
    ground.move({Place(TOPIC, "id", 0).application: CLOSED, Place(TOPIC, "again", 0).application: 0})
    ground.topic_id = "again"
    ground.begin_checkpoint()
    with pytest.raises(DriverDied):
        ground.run(6, rejects=[2], dies_at="between_targets")
    ground.run(6, rejects=[2])
    assert (ground.bronze(), ground.quarantine()) == ([0, 0, 1, 2, 3, 3, 4, 5, 5], [1, 2, 4])


def test_the_ledger_is_verified_while_a_batch_is_on_its_way(ground: Ground) -> None:
    ground.run(3, rejects=[1])
    with pytest.raises(DriverDied):
        ground.run(6, [3, 4, 5], rejects=[4], number=1, dies_at="between_targets")
    assert ground.quarantine() == [1, 4]
    assert [one.name for one in verify(ground.settings, with_broker=False) if not one.agrees] == []


def test_fewer_records_than_promised_are_not_committed(ground: Ground) -> None:
    ground.told_by_witness = 6
    with pytest.raises(BatchDoesNotBalance, match=r"6 rows and 5 were found \(as counted by a second"):
        ground.run(6, [0, 1, 2, 3, 5], rejects=[1])
    ground.assert_nothing_is_there()
    assert ground.quarantine() == []


def test_more_records_than_promised_are_not_committed(ground: Ground) -> None:
    with pytest.raises(BatchDoesNotBalance, match="promise 6 rows and 7 were found"):
        ground.run(6, [0, 1, 2, 3, 4, 5, 5])
    ground.assert_nothing_is_there()


def test_good_rows_that_are_not_in_the_files_are_not_committed(ground: Ground) -> None:
    write: Callable[..., int] = Append.write
    ground.patch.setattr(Append, "write", lambda *of: write(*of) - 1)
    with pytest.raises(BatchDoesNotBalance, match="good rows against rows in files"):
        ground.run(6)
    ground.assert_nothing_is_there()


def test_a_witness_that_counts_otherwise_stops_the_batch(ground: Ground) -> None:
    ground.changes, ground.told_by_witness = {"has_holes": True}, 5
    with pytest.raises(BatchDoesNotBalance, match="as counted by a second client"):
        ground.run(8, [0, 1, 3, 4])
    ground.assert_nothing_is_there()
    ground.told_by_witness = 4
    ground.run(8, [0, 1, 3, 4])
    assert ground.entries()[0].offset_holes == 4


def test_offsets_that_hold_no_record_for_a_second_client_either_are_holes(ground: Ground) -> None:
    ground.told_by_witness = 4
    ground.run(6, [0, 1, 3, 4], rejects=[1])
    assert (ground.bronze(), ground.quarantine()) == ([0, 3, 4], [1])
    assert [(one.rows_promised, one.rows_read, one.offset_holes) for one in ground.entries()] == [(6, 4, 2)]


def test_a_batch_of_nothing_but_transaction_markers_is_passed(ground: Ground) -> None:
    ground.told_by_witness = 0
    ground.run(2, [])
    ground.run(3, [2], number=1)
    assert ground.bronze() == [2]


def test_holes_among_notifications_are_no_lines_of_objects(ground: Ground) -> None:
    ground.told_by_witness = 2
    objects = Taken((TakenObject("s3://landing/a", "etag", 9, 5, "read"),))
    ground.changes = {"expand": lambda frame, _: Expanded(frame, 2, lambda: objects, lambda _: None)}
    ground.run(3, [0, 1, 2, 3, 4])
    assert [(one.rows_promised, one.rows_read, one.offset_holes) for one in ground.entries()] == [(6, 5, 1)]
    assert ground.entries()[0].balances
