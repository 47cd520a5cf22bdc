"""A little Postgres that keeps a log as Debezium would send it, and the fold that says what Silver must be: the newest
state and the history, in plain Python, from the same events in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from lakehouse.tables import CapturedTable
from lakehouse.tables.columns import columns

PLACEHOLDER = "__debezium_unavailable_value"
BEGIN = datetime(2026, 11, 23, 9, 0, 0)
THINGS = CapturedTable(name="things", columns=columns("log int, id int, amount int, note string"), keys=("log", "id"))
"""`note` is the large column: an update that does not touch it leaves it out. One `log` knows nothing of the others."""


@dataclass(frozen=True)
class Event:
    """A change as it is in Bronze. `row` is None for a delete."""

    log: int
    id: int
    op: str
    row: tuple[int | None, str | None] | None
    commit_lsn: int | None
    lsn: int
    order: int
    offset: int
    at: datetime
    sequence: bool = True

    @property
    def is_change(self) -> bool:
        return self.op != "r"

    def bronze(self) -> dict[str, Any]:
        """The values of a row of `bronze.things_changes` that are not null."""
        key = {"log": self.log, "id": self.id}
        after = None if self.row is None else key | {"amount": self.row[0], "note": self.row[1]}
        # Under REPLICA IDENTITY DEFAULT the values before a delete are invented.
        before = key | {"amount": 0, "note": ""} if self.op == "d" else None
        first = "null" if self.commit_lsn is None else f'"{self.commit_lsn}"'
        return {
            "key": None if self.op == "t" else key,
            "op": self.op,
            "before": before,
            "after": after,
            "lsn": self.lsn,
            "commit_lsn": self.commit_lsn,
            "sequence": f'[{first},"{self.lsn}"]' if self.sequence else None,
            "transaction_order": self.order,
            "transaction_id": None,
            "source_at": self.at,
            "source_incarnation": "system/1",
            "_topic": "shop.public.things",
            "_partition": 0,
            "_offset": self.offset,
            "_ingested_at": self.at,
        }


def event(op: str, key: int, lsn: int, note: str | None = "x", **values: Any) -> Event:
    """A change of log 0, at offset and second `lsn`, behind commit 1; `values` are its other fields."""
    row = None if op in "dt" else (1, note)
    return replace(Event(0, key, op, row, 1, lsn, 1, lsn, BEGIN.replace(second=lsn % 60)), **values)


@dataclass
class Transaction:
    """Changes that are not committed yet; it holds the lock of each key that it touched."""

    changes: list[tuple[int, str, tuple[int | None, str | None] | None, int]] = field(default_factory=list)
    locked: set[int] = field(default_factory=set)
    rows: dict[int, tuple[int, str | None] | None] = field(default_factory=dict)


class Database:
    """One table `things` of one log. Transactions run side by side; each change takes the next LSN, and Debezium sends
    a transaction when it commits, with the commit before it as the first number of `source.sequence`.
    """

    def __init__(self, log: int, random: Random, keys: int = 3) -> None:
        self.log, self.random, self.keys = log, random, keys
        self.rows: dict[int, tuple[int, str | None]] = {}
        self.events: list[Event] = []
        # LSNs are never used twice in a source.
        self.lsn, self.commit, self.clock = log * 1_000_000 + random.randint(1, 50), None, BEGIN
        self.open: list[Transaction] = [Transaction(), Transaction()]

    def run(self, steps: int) -> list[Event]:
        """So many steps; returns the events in the order in which Debezium sends them."""
        for _ in range(steps):
            transaction = self.random.choice(self.open)
            dice = self.random.random()
            if dice < 0.62:
                self._change(transaction)
            elif dice < 0.92:
                self._commit(transaction)
            else:
                self._snapshot()
        for transaction in self.open:
            self._commit(transaction)
        return self.events

    def _tick(self) -> int:
        self.lsn += self.random.randint(1, 9)
        # The clock of the source may stand still or jump back.
        self.clock += timedelta(seconds=self.random.choice([0, 1, 5, -2]))
        return self.lsn

    def _change(self, transaction: Transaction) -> None:
        locked = {key for other in self.open if other is not transaction for key in other.locked}
        free = [key for key in range(self.keys) if key not in locked]
        if not free:
            return
        key = self.random.choice(free)
        row = transaction.rows.get(key, self.rows.get(key))
        transaction.locked.add(key)
        lsn = self._tick()
        amount, note = self.random.randint(0, 3), self.random.choice(["x", "y", None])
        if row is None:
            self._put(transaction, key, "c", (amount, note), (amount, note), lsn)
        elif self.random.random() < 0.25:
            self._put(transaction, key, "d", None, None, lsn)
        elif self.random.random() < 0.2:
            self._move(transaction, key, row, free, lsn)
        elif self.random.random() < 0.5:
            sent = PLACEHOLDER if row[1] is not None else None
            self._put(transaction, key, "u", (amount, sent), (amount, row[1]), lsn)
        else:
            self._put(transaction, key, "u", (amount, note), (amount, note), lsn)

    def _move(self, transaction: Transaction, key: int, row: tuple[int, str | None], free: list[int], lsn: int) -> None:
        empty = [one for one in free if one != key and transaction.rows.get(one, self.rows.get(one)) is None]
        if not empty:
            return
        to = self.random.choice(empty)
        transaction.locked.add(to)
        self._put(transaction, key, "d", None, None, lsn)
        self._put(transaction, to, "c", (row[0], PLACEHOLDER if row[1] is not None else None), row, lsn)

    def _put(self, transaction: Transaction, key: int, op: str, sent: Any, row: Any, lsn: int) -> None:
        transaction.changes.append((key, op, sent, lsn))
        transaction.rows[key] = row

    def _commit(self, transaction: Transaction) -> None:
        for order, (key, op, sent, lsn) in enumerate(transaction.changes, start=1):
            self._send(key, op, sent, self.commit, lsn, order)
        if transaction.changes:
            self.commit = self._tick()
        for key, row in transaction.rows.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.open[self.open.index(transaction)] = Transaction()

    def _snapshot(self) -> None:
        """An incremental snapshot: the committed rows of some keys, placed where the watermark stands in the log."""
        lsn = self._tick()
        for key, row in self.rows.items():
            if self.commit is not None and self.random.random() < 0.7:
                self._send(key, "r", row, self.commit, lsn, 0)

    def _send(self, key: int, op: str, sent: Any, commit: int | None, lsn: int, order: int) -> None:
        self.events.append(Event(self.log, key, op, sent, commit, lsn, order, len(self.events), self.clock))


@dataclass(frozen=True)
class Version:
    row: tuple[int | None, str | None] | None
    position: tuple[Any, ...]
    at: datetime
    is_unresolved: bool = False


def position(event: Event) -> tuple[int, bool, int, int]:
    commit = event.lsn if event.commit_lsn is None else event.commit_lsn
    return (commit, event.is_change, event.lsn, event.order)


def fold(events: Iterable[Event]) -> dict[int, list[Version]]:
    """The states of each key of one log, in order: what Silver must come to, whatever the order of `events`."""
    once = {}
    for event in sorted(events, key=lambda one: (position(one), one.offset)):
        once[event.id, position(event)] = event
    versions: dict[int, list[Version]] = {}
    before_move: dict[int, list[tuple[int, Version]]] = {}
    for event in sorted(once.values(), key=lambda one: (position(one), one.op == "c")):
        past = versions.setdefault(event.id, [])
        last = past[-1] if past else None
        at = max(event.at, last.at) if last else event.at
        if event.op == "d":
            if last and last.row is not None:
                before_move.setdefault(event.lsn, []).append((event.id, last))
            past.append(Version(None, position(event), at))
            continue
        assert event.row is not None
        amount, note = event.row
        is_unresolved = False
        if note == PLACEHOLDER:
            source = last if event.op == "u" else None
            if event.op == "c":
                source = next((state for key, state in before_move.get(event.lsn, []) if key != event.id), None)
            is_known = source is not None and source.row is not None and not source.is_unresolved
            note, is_unresolved = (source.row[1], False) if is_known else (None, True)  # type: ignore[union-attr]
        past.append(Version((amount, note), position(event), at, is_unresolved))
    return versions


def present(versions: dict[int, list[Version]]) -> dict[int, tuple[Any, ...]]:
    """Key -> (amount, note, is_unresolved) of the rows that are there."""
    return {key: (*past[-1].row, past[-1].is_unresolved) for key, past in versions.items() if past[-1].row is not None}


def history(versions: dict[int, list[Version]]) -> list[tuple[Any, ...]]:
    """(key, amount, note, valid_from, valid_to, is_current), sorted: equal states in a row are one."""
    found = []
    for key, past in versions.items():
        changes = [one for n, one in enumerate(past) if one.row != (past[n - 1].row if n else None)]
        for number, one in enumerate(changes):
            if one.row is not None:
                end = changes[number + 1].at if number + 1 < len(changes) else None
                found.append((key, *one.row, one.at, end, end is None))
    return sorted(found, key=repr)


def logs(seeds: Sequence[int], steps: int = 14) -> tuple[list[Event], dict[int, dict[int, tuple[int, str | None]]]]:
    """The logs of so many databases with offsets of one partition, and the rows that each holds at its end."""
    events: list[Event] = []
    truth = {}
    for log, seed in enumerate(seeds):
        database = Database(log, Random(seed))
        events += [replace(one, offset=one.offset + len(events)) for one in database.run(steps)]
        truth[log] = database.rows
    return events, truth


def batches(events: Sequence[Event], random: Random, count: int) -> list[list[Event]]:
    """The events cut into batches, shuffled and repeated: each at least once, some again later or before."""
    cut: list[list[Event]] = [[] for _ in range(count)]
    for number, event in enumerate(events):
        # Half of the events keep their place in time: most changes of a real night are newer than the last.
        own = number * count // len(events) if random.random() < 0.5 else random.randrange(count)
        for batch in {own, *([random.randrange(count)] if random.random() < 0.1 else [])}:
            cut[batch].append(event)
    arrived = 0
    for number, batch in enumerate(cut):
        random.shuffle(batch)
        # What arrives later has the later offset.
        cut[number] = [replace(one, offset=arrived + n) for n, one in enumerate(batch)]
        arrived += len(batch)
    return cut
