"""The streams of a broken stack: started as a user would, and what they then tell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.breakage import promise
from infra.breakage.ground import Ground
from infra.demo import processes
from infra.shop.account import read_account
from lakehouse import direct_read
from lakehouse.errors import StepFailed
from lakehouse.kafka_offsets import end_offsets
from lakehouse.ledger_entry import Entry
from lakehouse.tables import CLICK_EVENTS, INVENTORY_EVENTS

LOG = "break"
SECONDS = 300.0
GROUPS = {"inventory": INVENTORY_EVENTS.table, "clicks": CLICK_EVENTS.table}


@dataclass(frozen=True)
class Ended:
    """How a stream ended: its exit code and the lines that it printed."""

    code: int
    lines: list[str]

    @property
    def sentence(self) -> str:
        """The sentence with which a command of ours fails."""
        return next((line for line in reversed(self.lines) if line.startswith("lakehouse: ")), "")


def start(ground: Ground, group: str, *arguments: str, **variables: str) -> processes.Child:
    """Start `lakehouse stream GROUP` in a session of its own, its output in `<home>/logs/break.log`."""
    ground.say(f"  $ {shlex.join(('lakehouse', 'stream', group, *arguments))}")
    return processes.start(ground.settings, LOG, "stream", group, "--short-lived", *arguments, **variables)


def run(ground: Ground, group: str, *arguments: str) -> Ended:
    """Run a stream until it has caught up or stops itself."""
    child = start(ground, group, "--until-caught-up", *arguments)
    try:
        return finish(child)
    finally:
        child.stop()


def finish(child: processes.Child) -> Ended:
    """Wait for a stream that ends by itself."""
    code = child.process.wait(SECONDS)
    return Ended(code, child.log.read_text("utf-8", "replace").splitlines())


def catch_up(ground: Ground, group: str, *arguments: str) -> None:
    """Run a stream until it has caught up, and print the ledger entries that it wrote. Raises `StepFailed`."""
    before = len(entries(ground, group))
    ended = run(ground, group, *arguments)
    if ended.code:
        why = ended.sentence or f"see {LOG}.log in {ground.settings.home / 'logs'}"
        raise StepFailed(f"The stream {group} ended with code {ended.code}: {why}")
    tell_entries(ground, group, before)


def catch_up_first(ground: Ground, group: str) -> None:
    """Bring Bronze up to the end of its topic before anything is broken, if it is not there already."""
    if not is_caught_up(ground, group):
        ground.say("First the stream takes what is still waiting for it.")
        catch_up(ground, group)


def is_caught_up(ground: Ground, group: str) -> bool:
    """Whether the newest ledger entries end where the topic ends, and Bronze has seen every object of the shop."""
    settings = ground.settings
    topic = {"inventory": settings.inventory_topic, "clicks": settings.click_objects_topic}[group]
    done = {(one.topic, one.partition): one.to_offset for entry in entries(ground, group) for one in entry.ranges}
    ends = end_offsets(settings, [topic])
    # An object that was not announced yet is in the bucket and not on the topic.
    is_announced = group == "inventory" or promise.objects(settings) == read_account(settings).clicks.objects
    return is_announced and all(done.get(place, 0) == end for place, end in ends.items())


def entries(ground: Ground, group: str) -> list[Entry]:
    """The ledger entries of a stream, oldest first."""
    return list(direct_read.ledger_entries(ground.settings, GROUPS[group]))


def tell_entries(ground: Ground, group: str, after: int) -> None:
    """Print the ledger entries behind the first `after` of them."""
    found = entries(ground, group)[after:]
    for entry in found:
        ground.say(f"  ledger: {told(entry)}")
    if not found:
        ground.say("  ledger: no new entry")


def told(entry: Entry) -> str:
    """One ledger entry as a line."""
    if entry.kind == "gap":
        places = ", ".join(map(str, entry.ranges))
        return f"{entry.stream}, gap: {places} ({entry.reason})"
    state = "balances" if entry.balances else "DOES NOT BALANCE"
    figures = f"read {entry.rows_read:,} = {entry.rows_written:,} written + {entry.rows_quarantined:,} rejected"
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(entry.quarantined.items()))
    filtered = "".join(f" + {count:,} {name}" for name, count in sorted(entry.filtered.items()))
    again = f", {entry.redelivered} re-delivered object not read again" if entry.redelivered else ""
    line = f"{entry.stream}, batch {entry.batch_id}: {figures}{filtered}{again}, {state}"
    return f"{line} ({reasons})" if reasons else line


def events_logged(child: processes.Child, event: str) -> Iterator[dict[str, Any]]:
    """The event lines of one name in the log of a stream."""
    for line in child.log.read_text("utf-8", "replace").splitlines():
        if line.startswith("{") and f'"{event}"' in line:
            found: dict[str, Any] = json.loads(line)
            if found.get("event") == event:
                yield found
