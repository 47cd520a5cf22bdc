"""Keeps the account exact, whatever dies: intent before, outcome after; what is open is settled at the next start.

Before anything leaves the shop, the journal gets an *intent* with all that is needed to find out later whether it
arrived; after the acknowledgement it gets an *outcome*. Only entries with an outcome are counted. Where the shop died
in between, `settle` asks the receiver:

- Postgres: the intent holds the transaction's id, and Postgres knows whether it was committed (`pg_xact_status`).
- S3: a put is whole or absent, so the object's presence is the answer.
- Kafka: each record carries a header with account, entry and index; the topic is read from the offsets that were its
  end before the intent, and exactly the records found there are counted.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from infra.shop.account import Account, read_account, shop_folder
from infra.shop.errors import AccountBelongsElsewhere
from infra.shop.journal import Entry, Journal
from lakehouse.settings import Settings

SETTLING_SECONDS = 3.0
"""How long a request of a killed shop may still be on its way to a receiver on this machine or near it."""


class Receivers(Protocol):
    """Answers whether something arrived; implemented by the real parts."""

    def transaction_committed(self, entry: int, transaction_id: str) -> bool:
        """Whether Postgres committed the transaction."""

    def object_exists(self, key: str) -> bool:
        """Whether the landing bucket has the object."""

    def arrived_records(self, topic: str, start: dict[int, int], prefix: str) -> list[int]:
        """Indexes of the records whose header begins with `prefix`, from the offsets `start` on, sorted, each once."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which Postgres cluster and which Kafka cluster an account belongs to."""

    postgres: str
    kafka: str


class AccountBook:
    """The only writer of a home's account. Hold the shop's lease while using it."""

    def __init__(self, settings: Settings) -> None:
        self.folder = shop_folder(settings)
        self.account: Account = read_account(settings)
        self._settings = settings
        self._journal = Journal(self.folder / "account.jsonl")

    def check(self, identity: Identity) -> None:
        """Raises `AccountBelongsElsewhere` when the account was kept for other systems."""
        account = self.account
        for part, found, expected in (
            ("Postgres", identity.postgres, account.postgres),
            ("Kafka", identity.kafka, account.kafka),
        ):
            if account.run and found != expected:
                raise AccountBelongsElsewhere(self.folder, part, found, expected)

    def open(self, identity: Identity, seed: int, business_date: str) -> None:
        """Begin a run. Raises `AccountBelongsElsewhere`."""
        self.check(identity)
        self._record(
            {
                "kind": "opened",
                "account_id": self.account.account_id or uuid.uuid4().hex[:12],
                "run": self.account.run + 1,
                "seed": seed,
                "business_date": business_date,
                "postgres": identity.postgres,
                "kafka": identity.kafka,
                "reorder_point": self._settings.low_stock_default_reorder_point,
                "clear_factor": self._settings.low_stock_clear_factor,
            }
        )

    def intend(self, channel: str, **facts: Any) -> int:
        """Write down what is about to leave; returns the entry's number."""
        entry = self.account.entries + 1
        self._record({"kind": "intent", "id": entry, "channel": channel, "at": time.time(), **facts})
        return entry

    def confirm(self, entry: int, arrived: Sequence[int] | None = None) -> None:
        """Write down that all of it arrived, or only the records with the indexes `arrived`."""
        self._record({"kind": "done", "id": entry} | ({} if arrived is None else {"arrived": list(arrived)}))

    def void(self, entry: int) -> None:
        """Write down that nothing of it arrived."""
        self._record({"kind": "void", "id": entry})

    def header(self, entry: int) -> str:
        """Prefix of the header that each Kafka record of the entry carries; its index follows."""
        return f"{self.account.account_id}:{entry}:"

    def settle(self, receivers: Receivers) -> int:
        """Find the outcome of everything that a dead shop left open; returns how many entries that were."""
        unsettled = list(self.account.unsettled.values())
        if unsettled:
            youngest = max(entry["at"] for entry in unsettled)
            time.sleep(min(max(youngest + SETTLING_SECONDS - time.time(), 0.0), SETTLING_SECONDS))
        for entry in unsettled:
            self._settle_one(entry, receivers)
        return len(unsettled)

    def _settle_one(self, entry: Entry, receivers: Receivers) -> None:
        number = int(entry["id"])
        if entry["channel"] == "kafka":
            start = {int(partition): offset for partition, offset in entry["start"].items()}
            self.confirm(number, receivers.arrived_records(entry["topic"], start, self.header(number)))
            return
        if entry["channel"] == "s3":
            happened = receivers.object_exists(entry["key"])
        else:
            happened = receivers.transaction_committed(number, entry["transaction_id"])
        if happened:
            self.confirm(number)
        else:
            self.void(number)

    def write_summary(self) -> None:
        """Write account.json: whole or not at all."""
        target = self.folder / "account.json"
        draft = target.with_suffix(".json.part")
        draft.write_text(json.dumps(self.account.summary(), indent=2) + "\n", encoding="utf-8")
        os.replace(draft, target)

    def close(self) -> None:
        """Write the summary and close the journal."""
        self.write_summary()
        self._journal.close()

    def __enter__(self) -> AccountBook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, entry: Entry) -> None:
        self._journal.write(entry)
        self.account.apply(entry)
