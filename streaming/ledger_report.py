"""The ledger, as lines to print: what each stream read, wrote and rejected per day, and the gaps. No Spark start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from lakehouse import direct_read
from lakehouse.ledger_entry import Entry
from lakehouse.settings import Settings
from lakehouse.tables import STREAMS

HEADS = ("batches", "read", "written", "rejected", "filtered", "holes", "replayed")


def lines(settings: Settings) -> Iterator[str]:
    """One line per stream and day (UTC) of the commits, and one per gap that was accepted."""
    yield f"{'stream':<22}{'day':<12}" + "".join(f"{head:>10}" for head in HEADS) + "  balance"
    gaps = []
    for stream in STREAMS:
        days: dict[date, list[Entry]] = {}
        for at, entry in direct_read.ledger_commits(settings, stream):
            days.setdefault(at.date(), []).append(entry)
            gaps += [_gap_line(at.date(), entry)] if entry.kind == "gap" else []
        if not days:
            yield f"{stream:<22}{'-':<12}" + f"{0:>10}" * len(HEADS) + "  nothing yet"
        for day, entries in days.items():
            yield f"{stream:<22}{day.isoformat():<12}" + _figures(entries)
    yield from gaps


def _figures(entries: list[Entry]) -> str:
    batches = [one for one in entries if one.kind == "batch"]
    figures = (
        len(batches),
        sum(one.rows_read for one in batches),
        sum(one.rows_written for one in batches),
        sum(one.rows_quarantined for one in batches),
        sum(sum(one.filtered.values()) for one in batches),
        sum(one.offset_holes for one in batches),
        sum(one.rows_written for one in entries if one.kind == "replay"),
    )
    state = "balances" if all(one.balances for one in entries) else "DOES NOT BALANCE"
    return "".join(f"{figure:>10}" for figure in figures) + f"  {state}"


def _gap_line(day: date, entry: Entry) -> str:
    places = ", ".join(map(str, entry.ranges))
    return f"gap: {entry.stream}, {day.isoformat()}: {places} ({entry.reason})"
