"""The shop's own account: what it produced, by source and kind, as far as it was acknowledged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.shop.journal import Entry, read_journal
from lakehouse.settings import Settings

TABLES = ("customers", "products", "orders")
OPERATIONS = ("insert", "update", "delete", "key_change")


@dataclass(slots=True)
class Level:
    """Stock of one product in one warehouse after its newest good event."""

    sequence: int
    on_hand: int
    is_low: bool = False
    is_escalated: bool = False


@dataclass(frozen=True, slots=True)
class ExpectedAlert:
    """A message that purchasing must get exactly once. `kind` is opened, escalated or closed."""

    sku: str
    warehouse_id: str
    kind: str


@dataclass
class InventoryCount:
    """Records on the stock topic. `good` counts events; `bad` counts records by quarantine reason."""

    good: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    event_ids: list[str] = field(default_factory=list)

    @property
    def records(self) -> int:
        """All records on the topic."""
        return self.good + self.bad.total()


@dataclass
class ClickCount:
    """Objects and lines in the landing bucket. `good` includes `repeats` (lines whose event id came before)."""

    objects: int = 0
    lines: int = 0
    good: int = 0
    repeats: int = 0
    with_unknown_fields: int = 0
    bad: Counter[str] = field(default_factory=Counter)

    @property
    def events(self) -> int:
        """Different good events."""
        return self.good - self.repeats


@dataclass
class ChangeCount:
    """Rows changed in Postgres by table and operation, and bad records put on the change topics."""

    tables: dict[str, Counter[str]] = field(default_factory=lambda: {table: Counter() for table in TABLES})
    bad: Counter[str] = field(default_factory=Counter)

    def events(self, table: str) -> dict[str, int]:
        """Change events by Debezium's operation that a connector sends that read the table from its beginning.

        A change of a key is a delete and an insert; a tombstone follows each delete.
        """
        rows = self.tables[table]
        deletes = rows["delete"] + rows["key_change"]
        return {"c": rows["insert"] + rows["key_change"], "u": rows["update"], "d": deletes, "tombstone": deletes}


@dataclass
class Account:
    """All counts, folded from the journal. Only what was acknowledged is counted."""

    account_id: str = ""
    run: int = 0
    seed: int = 0
    business_date: str = ""
    postgres: str = ""
    kafka: str = ""
    reorder_point: int = 20
    clear_factor: float = 1.5
    inventory: InventoryCount = field(default_factory=InventoryCount)
    clicks: ClickCount = field(default_factory=ClickCount)
    changes: ChangeCount = field(default_factory=ChangeCount)
    expected_alerts: list[ExpectedAlert] = field(default_factory=list)
    levels: dict[tuple[str, str], Level] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    """Names of the steps that are done and are not done twice."""
    next_ids: dict[str, int] = field(default_factory=dict)
    """First free key per table; also counts keys of transactions that did not come through."""
    until: dict[str, str] = field(default_factory=dict)
    """Per source the UTC time up to which its history is written."""
    last_object: str = ""
    unsettled: dict[int, Entry] = field(default_factory=dict)
    """Intents without an outcome: the shop died, or is at work."""
    entries: int = 0

    def summary(self) -> dict[str, Any]:
        """Counts only, as they are written to account.json."""
        return {
            "account_id": self.account_id,
            "runs": self.run,
            "seed": self.seed,
            "business_date": self.business_date,
            "unsettled": len(self.unsettled),
            "inventory": {
                "records": self.inventory.records,
                "good": self.inventory.good,
                "bad": _sorted(self.inventory.bad),
            },
            "clicks": {
                "objects": self.clicks.objects,
                "lines": self.clicks.lines,
                "good": self.clicks.good,
                "events": self.clicks.events,
                "repeats": self.clicks.repeats,
                "with_unknown_fields": self.clicks.with_unknown_fields,
                "bad": _sorted(self.clicks.bad),
            },
            "changes": {
                "rows": {
                    table: {name: rows[name] for name in OPERATIONS} for table, rows in self.changes.tables.items()
                },
                "events": {table: self.changes.events(table) for table in TABLES},
                "bad": _sorted(self.changes.bad),
            },
            "expected_alerts": [
                {"sku": one.sku, "warehouse_id": one.warehouse_id, "kind": one.kind} for one in self.expected_alerts
            ],
        }

    def apply(self, entry: Entry) -> None:
        """Take one line of the journal into the counts."""
        kind = entry["kind"]
        if kind == "opened":
            self._open(entry)
        elif kind == "intent":
            self.entries = max(self.entries, entry["id"])
            self.unsettled[entry["id"]] = entry
            for table, number in entry.get("next_ids", {}).items():
                self.next_ids[table] = max(number, self.next_ids.get(table, 0))
        elif kind == "done":
            self._count(self.unsettled.pop(entry["id"]), entry.get("arrived"))
        elif kind == "void":
            self.unsettled.pop(entry["id"])

    def _open(self, entry: Entry) -> None:
        self.account_id = entry["account_id"]
        self.run, self.seed, self.business_date = entry["run"], entry["seed"], entry["business_date"]
        self.postgres, self.kafka = entry["postgres"], entry["kafka"]
        self.reorder_point, self.clear_factor = entry["reorder_point"], entry["clear_factor"]

    def _count(self, intent: Entry, arrived: list[int] | None) -> None:
        if "tag" in intent:
            self.tags.add(intent["tag"])
        if "until" in intent:
            source, moment = intent["until"]
            self.until[source] = max(moment, self.until.get(source, ""))
        if intent["channel"] == "postgres":
            for table, rows in intent["rows"].items():
                self.changes.tables[table].update(rows)
        elif intent["channel"] == "s3":
            self._count_object(intent)
        else:
            records = intent["records"]
            self._count_records(intent["source"], records if arrived is None else [records[index] for index in arrived])

    def _count_object(self, intent: Entry) -> None:
        self.clicks.objects += 1
        self.clicks.lines += intent["lines"]
        self.clicks.good += intent["good"]
        self.clicks.repeats += intent["repeats"]
        self.clicks.with_unknown_fields += intent["with_unknown_fields"]
        self.clicks.bad.update(intent["bad"])
        self.last_object = max(self.last_object, intent["key"])

    def _count_records(self, source: str, records: list[list[Any]]) -> None:
        for record in records:
            if record[0] == "bad":
                (self.inventory if source == "inventory" else self.changes).bad[record[1]] += 1
            else:
                _, event_id, sku, warehouse_id, sequence, on_hand = record
                self.inventory.good += 1
                self.inventory.event_ids.append(event_id)
                self._move_stock(sku, warehouse_id, sequence, on_hand)

    def _move_stock(self, sku: str, warehouse_id: str, sequence: int, on_hand: int) -> None:
        level = self.levels.setdefault((sku, warehouse_id), Level(0, on_hand))
        level.sequence, level.on_hand = sequence, on_hand
        if not level.is_low and on_hand <= self.reorder_point:
            level.is_low = True
            self.expected_alerts.append(ExpectedAlert(sku, warehouse_id, "opened"))
        if level.is_low and not level.is_escalated and on_hand <= 0:
            level.is_escalated = True
            self.expected_alerts.append(ExpectedAlert(sku, warehouse_id, "escalated"))
        if level.is_low and on_hand > self.reorder_point * self.clear_factor:
            level.is_low = level.is_escalated = False
            self.expected_alerts.append(ExpectedAlert(sku, warehouse_id, "closed"))


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def shop_folder(settings: Settings) -> Path:
    """Where the shop keeps its account."""
    return settings.home / "shop"


def read_account(settings: Settings) -> Account:
    """The account as the journal tells it, also while the shop runs; empty where no shop ever ran.

    `unsettled` names what was begun and has no outcome yet. Raises `AccountDamaged`.
    """
    account = Account()
    for entry in read_journal(shop_folder(settings) / "account.jsonl"):
        account.apply(entry)
    return account
