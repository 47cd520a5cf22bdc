"""The asker's side of requests about rejected rows: hand in, wait for the owner or be it, report."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from pyspark.sql import SparkSession

from lakehouse import lease
from lakehouse.errors import LakehouseError, LeaseHeld
from lakehouse.lease import Held
from lakehouse.session import build_session
from lakehouse.settings import Settings
from lakehouse.spark_conf import short_lived, spark_conf
from lakehouse.tables import SILVER_CAPTURED, STREAMS, UNMERGED
from streaming import inspection, quarantine_desk, quarantine_requests, queries, unmerged
from streaming.bronze_writer import BronzeStream
from streaming.quarantine_requests import Answer, Kind, Request
from streaming.quarantine_selection import Selection
from streaming.writer_schemas import Registry

WAIT_SECONDS = 600.0
POLL_SECONDS = 0.5


class RequestWaits(LakehouseError):
    """The owner of a stream did not answer in time."""

    def __init__(self, streams: Sequence[str]) -> None:
        super().__init__(
            f"The driver of {', '.join(streams)} gave no answer within {WAIT_SECONDS:.0f} s. The request is kept, and "
            "executed as soon as the driver can; `lakehouse quarantine list` shows it. Look at the driver's log "
            "(`registry_does_not_answer`?). A driver with another LAKEHOUSE_HOME, or on another machine, never sees "
            "it: ask there."
        )


class RequestFailed(LakehouseError):
    """The owner of a stream could not do what was asked for."""

    def __init__(self, troubles: Sequence[str]) -> None:
        super().__init__(f"Nothing was decided: {'; '.join(troubles)}")


class RejectedByMerge(LakehouseError):
    """A row is in Bronze, and no merge could place it."""

    def __init__(self, holders: Sequence[str]) -> None:
        tables = [table.name for table in SILVER_CAPTURED if table.rejects in holders]
        super().__init__(
            "These rows are in Bronze already; no merge could place them in Silver. "
            + " ".join(f"`lakehouse batch replay {table}` merges those of {table} again." for table in tables)
        )


def ask(
    settings: Settings,
    kind: Kind,
    ids: Sequence[str],
    where: Sequence[str],
    stream: str | None,
    requested_by: str,
    why: str = "",
    is_dry_run: bool = False,
) -> Iterator[str]:
    """Have it done, and yield lines that say what became of each row.

    Raises `NoSuchRow`, `BadCondition`, `RejectedByMerge`, `RequestWaits` or `RequestFailed`. Ctrl-C takes back what
    nobody answered.
    """
    selection = Selection(tuple(ids), tuple(where))
    selection.check()
    chosen = [
        Request(quarantine_requests.new_id(), name, kind, selection, requested_by, why, is_dry_run)
        for name in _holders(settings, kind, ids, stream)
    ]
    made = [one for one in chosen if one.stream in STREAMS]
    for request in made:
        quarantine_requests.submit(settings, request)
    try:
        answers = _answers(settings, made)
    except KeyboardInterrupt:
        for request in made:
            quarantine_requests.withdraw(settings, request)
        raise
    if not chosen:
        yield "No rejected row is meant."
    yield from (line for request in made for line in _lines(request, answers[request.stream]))
    # Behind the streams: a merge that runs is waited for.
    for request in (one for one in chosen if one.stream in UNMERGED):
        yield from _lines(request, unmerged.discard(_session(settings), settings, request))
    if troubles := [f"{name}: {one.trouble}" for name, one in answers.items() if one.trouble]:
        raise RequestFailed(troubles)


def _holders(settings: Settings, kind: Kind, ids: Sequence[str], stream: str | None) -> list[str]:
    """The streams, and the merges, that hold rejected rows which may be meant."""
    if ids:
        found = {inspection.stream_of(settings, one) for one in ids} & {stream or one for one in (*STREAMS, *UNMERGED)}
    else:
        # Without a word about them a replay means the rows of the streams.
        named = (*STREAMS, *UNMERGED) if stream or kind == "discard" else STREAMS
        found = {one for one in named if stream in (None, one) and inspection.has_rows(settings, one)}
    if kind == "replay" and (by_merge := sorted(found & set(UNMERGED))):
        raise RejectedByMerge(by_merge)
    return sorted(found)


def _answers(settings: Settings, made: Sequence[Request]) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    spark: SparkSession | None = None
    deadline = time.monotonic() + WAIT_SECONDS
    while waiting := [one for one in made if one.stream not in answers]:
        for request in waiting:
            if answer := quarantine_requests.take_answer(settings, request):
                answers[request.stream] = answer
                continue
            with ExitStack() as leases:
                try:
                    owned, held = _take_lease(leases, settings, request.stream)
                except LeaseHeld:
                    continue
                spark = spark or _session(settings)
                quarantine_desk.serve(spark, settings, owned, Registry(settings, threading.Event()), held)
        if time.monotonic() > deadline:
            raise RequestWaits([one.stream for one in waiting])
        time.sleep(POLL_SECONDS)
    return answers


def _take_lease(leases: ExitStack, settings: Settings, stream: str) -> tuple[list[BronzeStream], dict[str, Held]]:
    owned = [one for one in queries.streams("all", settings) if one.spec.table == stream]
    return owned, {stream: leases.enter_context(lease.hold(lease.of_stream(stream), settings))}


def _session(settings: Settings) -> SparkSession:
    return build_session(settings, "lakehouse-quarantine", short_lived(spark_conf(settings)))


def _lines(request: Request, answer: Answer) -> Iterator[str]:
    for row in answer.rows:
        note = "+".join(row["reasons"] or ()) or row["why"]
        yield f"{row['quarantine_id']}  {row['outcome'].replace('_', ' '):<10}{note}".rstrip()
    said = ", ".join(f"{rows} {name.replace('_', ' ')}" for name, rows in sorted(answer.counts.items()))
    dry = " (dry run: nothing was written)" if request.is_dry_run else ""
    yield f"{request.stream}: {said or 'no row is meant'}{dry}"
    if not_told := sum(n for name, n in answer.counts.items() if not name.startswith("already_")) - len(answer.rows):
        yield f"  {not_told} of them are not listed here; each is in ops.quarantine_outcomes/{request.stream}"
    if answer.left:
        yield f"  {answer.left} more open rows are meant: ask again"
