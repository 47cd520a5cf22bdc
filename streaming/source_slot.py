"""What Postgres says about the source: its incarnation, the newest heartbeat, and the replication slot.

Asked as the role that only reads: every role may see the slots, and needs no `pg_monitor` for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from lakehouse import source_cut
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings

# The reason of an invalidation is a column of Postgres 17 and later; all others are there since 13.
ASK = """
select %(incarnation)s as incarnation, heartbeats.beat, heartbeats.beat_at, clock_timestamp() as asked_at,
       coalesce(slot.wal_status, case when slot.slot_name is null then 'missing' else 'lost' end) as wal_status,
       coalesce(slot.active, false) as is_active, slot.restart_lsn::text, slot.confirmed_flush_lsn::text,
       (pg_current_wal_lsn() - slot.restart_lsn)::bigint as retained_bytes, slot.safe_wal_size as safe_bytes,
       to_jsonb(slot) ->> 'invalidation_reason' as invalidation_reason
from heartbeats left join pg_replication_slots as slot on slot.slot_name = %(slot)s
where heartbeats.id = 1
"""


@dataclass(frozen=True)
class SourceState:
    """One moment of the source. Times carry their zone, sizes are bytes."""

    incarnation: str
    beat: int
    beat_at: datetime
    asked_at: datetime
    wal_status: str
    """In Postgres' words; `missing` where there is no slot."""
    is_active: bool
    """Whether the connector reads the slot right now."""
    restart_lsn: str | None
    confirmed_flush_lsn: str | None
    retained_bytes: int | None
    """How much log the slot keeps on the disk; None where it keeps none any more."""
    safe_bytes: int | None
    """How much more may be written before the slot can be lost; None where nothing limits it."""
    invalidation_reason: str | None


class NoHeartbeat(LakehouseError):
    """The source lacks the row that the connector updates."""

    def __init__(self) -> None:
        super().__init__(
            "The table heartbeats has no row with id 1: run the SQL files of infra/postgres/ against the source."
        )


class SlotNotRead(LakehouseError):
    """Postgres answers and does not say how the slot stands."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"Postgres does not say how the replication slot stands: {found}. Was it restarted? Else run the SQL files "
            "of infra/postgres/ against the source: they make the table heartbeats and the role that reads it."
        )


def ask(settings: Settings) -> SourceState:
    """The state of now. Raises `ServiceUnreachable`, `CutNotTaken`, `SlotNotRead` or `NoHeartbeat`."""
    try:
        with source_cut.reading(settings) as (connection, cut):
            asked = {"incarnation": cut.incarnation, "slot": settings.source_slot}
            found = connection.cursor(row_factory=class_row(SourceState)).execute(ASK, asked).fetchone()
    except psycopg.Error as error:
        raise SlotNotRead(str(error).partition("\n")[0]) from None
    if found is None:
        raise NoHeartbeat
    return found
