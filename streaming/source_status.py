"""How the source stands, from Postgres over the connector to Bronze: one finding for each part, with the cure where an
operator has to act.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from lakehouse import direct_read, pushed_metrics
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from lakehouse.tables import HEARTBEATS, INCARNATIONS
from streaming import source_connector, source_gaps, source_slot
from streaming.source_connector import Connector
from streaming.source_slot import SourceState

SLOT_RUNBOOK = "docs/runbooks/replication-slot.md"
RESTORED_RUNBOOK = "docs/runbooks/source-restored.md"
MANY_BYTES = 1_000_000_000
"""A slot that keeps more log than this has a reader that is off or far behind. The alarm has the same number."""
LATE_SECONDS = 600
"""Twenty beats of the connector. The alarm has the same number."""
NEWEST = """
select source_incarnation, "after".beat, "after".beat_at from bronze.heartbeats_changes
where op in ('r', 'c', 'u') order by _kafka_at desc, _offset desc limit 1
"""


class ConnectorNamesAnotherSource(LakehouseError):
    """The changes carry the name of another database than the one that they come from."""

    def __init__(self, named: str, present: str) -> None:
        super().__init__(
            f"The newest change says that it comes from {named or '(no name)'}, and the database is {present}. Was it "
            "restored or failed over, and the connector not registered again? Nothing was merged: positions of two "
            f"databases have no order. Register the connector with the present name ({RESTORED_RUNBOOK})."
        )


@dataclass(frozen=True)
class Finding:
    """What was found about one part; `cure` is empty where nobody has to act."""

    part: str
    found: str
    cure: str = ""

    def __str__(self) -> str:
        cure = f". {self.cure}" if self.cure else ""
        return f"{self.part:<12} {self.found}{cure}"


@dataclass(frozen=True)
class Beat:
    """The newest heartbeat in Bronze; times are UTC."""

    incarnation: str
    number: int
    at: datetime


def newest_beat(settings: Settings) -> Beat | None:
    """The newest heartbeat in Bronze, or None where there is none yet. No Spark start."""
    name = HEARTBEATS.changes.name
    if direct_read.open_table(settings, name) is None:
        return None
    found = direct_read.rows(direct_read.connect(settings, name), NEWEST)
    return Beat(found[0][0] or "", found[0][1], source_gaps.utc(found[0][2])) if found else None


def findings(settings: Settings) -> Iterator[Finding]:
    """One finding for each part, in the order of the way; a service that does not answer is one too."""
    try:
        state = source_slot.ask(settings)
        yield slot_finding(settings, state)
    except LakehouseError as error:
        state = None
        yield Finding("slot", "Postgres could not be asked", str(error))
    try:
        connector = source_connector.ask(settings)
        yield _connector(settings, connector)
        if state:
            yield _incarnation(settings, state, connector)
    except LakehouseError as error:
        yield Finding("connector", "Connect could not be asked", str(error))
    if state:
        yield _heartbeat(settings, state)
    yield _gaps(settings)


def slot_finding(settings: Settings, state: SourceState) -> Finding:
    """What the slot's state means, and whether somebody has to act."""
    name = f"{settings.source_slot}: {state.wal_status}"
    if state.wal_status == "missing":
        return Finding("slot", name, f"No log is kept for the connector: {SLOT_RUNBOOK}.")
    limit = "without a limit" if state.safe_bytes is None else f"{_size(state.safe_bytes)} more are safe"
    found = (
        f"{name}, {'read' if state.is_active else 'read by nobody'}, keeps {_size(state.retained_bytes or 0)} of log "
        f"from {state.restart_lsn or 'nowhere'} on ({limit}), confirmed up to {state.confirmed_flush_lsn or 'nowhere'}"
    )
    return Finding("slot", found, _slot_cure(state))


def _slot_cure(state: SourceState) -> str:
    if state.wal_status == "lost":
        why = f" ({state.invalidation_reason})" if state.invalidation_reason else ""
        return f"The log that the connector needs is gone{why}: {SLOT_RUNBOOK}."
    if state.wal_status == "unreserved":
        return f"It will be lost at the next checkpoint: let the connector read now ({SLOT_RUNBOOK})."
    if not state.is_active:
        return f"The log grows until the connector runs: see the next line ({SLOT_RUNBOOK})."
    if (state.retained_bytes or 0) > MANY_BYTES:
        return f"The connector is far behind, or does not confirm ({SLOT_RUNBOOK})."
    return ""


def _connector(settings: Settings, connector: Connector) -> Finding:
    name = settings.source_connector
    if not connector.states:
        return Finding("connector", f"{name} has no task", "Register or resume it (infra/debezium/connector.json).")
    # Debezium names its whole state in the middle; what happened stands at the two ends.
    said = f": {connector.trouble[:100]} ... {connector.trouble[100:][-120:]}" if connector.trouble else ""
    found = f"{name} and its task: {', '.join(connector.states)}{said}"
    return Finding("connector", found, "" if connector.is_running else f"Nothing is captured: {SLOT_RUNBOOK}.")


def _incarnation(settings: Settings, state: SourceState, connector: Connector) -> Finding:
    named, opened = connector.incarnation, _opened(settings)
    if named != state.incarnation:
        found = f"the database is {state.incarnation}, the connector names it {named or '(nothing)'}"
        return Finding("incarnation", found, f"Register the connector with the database's name: {RESTORED_RUNBOOK}.")
    if opened and state.incarnation not in opened:
        found = f"the database is {state.incarnation}, opened are {', '.join(opened)}"
        return Finding("incarnation", found, f"Was it restored or failed over? {RESTORED_RUNBOOK}.")
    return Finding("incarnation", f"{state.incarnation}, in Postgres and in the connector")


def _opened(settings: Settings) -> list[str]:
    if direct_read.open_table(settings, INCARNATIONS.name) is None:
        return []
    connection = direct_read.connect(settings, INCARNATIONS.name)
    return [
        name for (name,) in direct_read.rows(connection, "select incarnation from ops.incarnations order by ordinal")
    ]


def _heartbeat(settings: Settings, state: SourceState) -> Finding:
    bronze = newest_beat(settings)
    in_bronze = f"{bronze.number} of {bronze.at:%Y-%m-%d %H:%M:%S}" if bronze else "none"
    found = f"Postgres {state.beat} of {state.beat_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}, Bronze {in_bronze} UTC"
    if (state.asked_at - state.beat_at).total_seconds() > LATE_SECONDS:
        return Finding("heartbeat", found, "The connector does not beat: does it run, and may it update heartbeats?")
    if bronze is None or (state.asked_at - bronze.at).total_seconds() > LATE_SECONDS:
        return Finding("heartbeat", found, "Bronze is late: do the streams run (`lakehouse stream changes`)?")
    return Finding("heartbeat", found)


def _gaps(settings: Settings) -> Finding:
    gaps = source_gaps.still_open(settings)
    if gaps:
        return Finding("gaps", "; ".join(map(str, gaps[: source_gaps.NAMED])), f"See {SLOT_RUNBOOK}.")
    return Finding("gaps", "none that nobody accepted")


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"


def require_whole(settings: Settings) -> None:
    """Let a night go on only with changes that are all there and carry their source's name; Prometheus hears of both.

    Raises `ConnectorNamesAnotherSource`, `SourceChangesMissing`, or `ServiceUnreachable`.
    """
    state, newest = source_slot.ask(settings), newest_beat(settings)
    differs = newest is not None and newest.incarnation != state.incarnation
    gaps = source_gaps.still_open(settings)
    pushed_metrics.push_source(settings, state.wal_status, state.retained_bytes, differs, len(gaps))
    if newest is not None and differs:
        raise ConnectorNamesAnotherSource(newest.incarnation, state.incarnation)
    if gaps:
        raise source_gaps.SourceChangesMissing(gaps)
