"""The cut of a night: one snapshot of Postgres, and which changes belong to it.

A change belongs to the cut if its transaction is visible in the snapshot. No log position can say that: a transaction
that stayed open while the snapshot was taken wrote some of its changes before it and commits after it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql
from pyspark.sql import Column
from pyspark.sql import functions as F

from lakehouse.errors import LakehouseError, ServiceUnreachable
from lakehouse.settings import Settings

Reading = psycopg.Connection[tuple[object, ...]]
EPOCH = 2**32
"""Debezium's transaction ids have 32 bits and begin again after so many transactions; the snapshot's have 64."""
AHEAD = 2**30
"""An id that lies fewer transactions than this behind the snapshot's end began after it; all others are older."""
# The first statement of the transaction takes its snapshot, and all later ones read by it. The timeline is that of the
# log that is written now: pg_control_checkpoint() tells the old one until the first checkpoint behind a promotion.
CUT = """
select pg_current_snapshot()::text,
       (pg_current_wal_lsn() - '0/0')::bigint,
       (select system_identifier from pg_control_system()) || '/'
           || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int,
       clock_timestamp()
"""


class OtherIncarnation(LakehouseError):
    """Two cuts of different databases (one was restored or failed over) have no order."""

    def __init__(self, ours: str, other: str) -> None:
        super().__init__(
            f"The cut is of the source incarnation {ours} and cannot be compared with one of {other}: the database was "
            "restored or failed over. Open the new incarnation by command before the next night."
        )


@dataclass(frozen=True)
class SourceCut:
    """What Postgres showed at one moment."""

    snapshot: str
    """`xmin:xmax:xip_list`: ids with their epoch of top-level transactions, as `pg_current_snapshot()` gives them."""
    lsn: int
    """Where the log ended, in bytes. It says how long to wait, not what belongs to the cut."""
    incarnation: str
    """`<system identifier>/<timeline>`, as the connector writes it into each change's header."""
    taken_at: datetime
    """UTC."""

    def to_json(self) -> str:
        """One line of JSON; `from_json` reads it back."""
        return json.dumps(asdict(self), default=datetime.isoformat, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> SourceCut:
        """The cut that `to_json` wrote."""
        found = json.loads(text)
        return SourceCut(**{**found, "taken_at": datetime.fromisoformat(found["taken_at"])})

    @property
    def xmin(self) -> int:
        """All transactions below it have ended."""
        return int(self.snapshot.split(":")[0])

    @property
    def xmax(self) -> int:
        """No transaction at or above it is visible."""
        return int(self.snapshot.split(":")[1])

    @property
    def open(self) -> frozenset[int]:
        """The transactions between the two that were open."""
        return frozenset(int(one) for one in self.snapshot.split(":")[2].split(",") if one)

    def sees(self, transaction_id: Column, sent_at: Column | None = None) -> Column:
        """Whether the transaction of a change is visible: true or false, never null.

        `transaction_id` is Bronze's: `xid` or `xid:lsn`, with an id of 32 bits whose epoch is restored from the
        snapshot, or one of 64. Right for changes of up to three billion transactions before the cut and one billion
        after it. Give null for a row that a snapshot read (`op` = `r`): it shows the table as of `sent_at` (Bronze's
        `lsn`), and is visible if that is not behind the cut's own position, or not given.
        """
        given = F.split_part(transaction_id, F.lit(":"), F.lit(1)).try_cast("bigint")
        distance = F.pmod(given - self.xmax, F.lit(EPOCH))
        restored = F.when(distance < AHEAD, distance + self.xmax).otherwise(distance + (self.xmax - EPOCH))
        xid = F.when(given < EPOCH, restored).otherwise(given)
        # One literal, whatever the number of open transactions: a list of thousands would make a plan of thousands.
        is_open = F.find_in_set(xid.cast("string"), F.lit(",".join(map(str, sorted(self.open))))) > 0
        is_visible = F.when(xid < self.xmin, True).when(xid >= self.xmax, False).otherwise(~is_open)
        was_read_before = F.lit(True) if sent_at is None else F.coalesce(sent_at <= self.lsn, F.lit(True))
        return F.when(given.isNull(), was_read_before).otherwise(is_visible)

    def has_seen(self, xid: int) -> bool:
        """The same for one id of 64 bits, without Spark."""
        return xid < self.xmax and xid not in self.open

    def is_later_than(self, other: SourceCut) -> bool:
        """Whether this cut sees all that `other` sees, and more. Raises `OtherIncarnation`."""
        if self.incarnation != other.incarnation:
            raise OtherIncarnation(self.incarnation, other.incarnation)
        # Snapshots of one database are ordered: of two, one sees all that the other sees. The later one ends later, or
        # ends at the same transaction and has fewer open ones.
        return self.xmax > other.xmax or (self.xmax == other.xmax and self.open < other.open)


class CutNotTaken(LakehouseError):
    """Postgres answers and gives no snapshot of itself."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"Postgres gives no cut: {found}. It must be the primary, and the role of LAKEHOUSE_POSTGRES_READER_USER "
            "must be allowed to connect (infra/postgres/1_roles.sql)."
        )


def take(settings: Settings) -> SourceCut:
    """The cut of this moment. Raises `ServiceUnreachable` and `CutNotTaken`."""
    with reading(settings) as (_, cut):
        return cut


@contextmanager
def reading(settings: Settings) -> Iterator[tuple[Reading, SourceCut]]:
    """A connection whose one transaction reads the source as of the cut, and that cut.

    Raises `ServiceUnreachable` and `CutNotTaken`. As long as it is open, vacuum can remove no row version of the
    database that died since the cut. Postgres itself ends it when nothing was read for `postgres_read_seconds`.
    """
    try:
        connection = psycopg.connect(**settings.postgres_reader_conninfo, connect_timeout=10)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        address = f"{settings.postgres_host}:{settings.postgres_port}"
        cure = f"Check LAKEHOUSE_POSTGRES_*: {str(error).splitlines()[0]}"
        raise ServiceUnreachable("Postgres", address, cure) from None
    # Closed without a commit: there is nothing to commit, and Postgres may have ended the transaction meanwhile.
    with closing(connection):
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection, _cut(connection, settings.postgres_read_seconds)


def _cut(connection: Reading, seconds: float) -> SourceCut:
    # Setting a limit takes no snapshot: the next statement does.
    limit_ms = sql.Literal(max(1, int(seconds * 1000)))
    try:
        connection.execute(sql.SQL("set local idle_in_transaction_session_timeout = {}").format(limit_ms))
        row = connection.execute(CUT).fetchone()
    except psycopg.Error as error:
        raise CutNotTaken(str(error).splitlines()[0]) from None
    assert row is not None
    snapshot, lsn, incarnation, taken_at = row
    assert isinstance(taken_at, datetime)
    return SourceCut(str(snapshot), int(str(lsn)), str(incarnation), taken_at.astimezone(UTC))
