"""Click objects counted again: their lines in the bucket against the rows of Bronze and the quarantine.

By other means than those that wrote them: the objects are read by this process (not by the tasks of Spark, and not by
their reader), the rows by DuckDB. A version that is not in the bucket any more can't be counted, and is said so.
"""

from __future__ import annotations

import gzip
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError

from lakehouse import direct_read
from lakehouse.delta_io import Mark
from lakehouse.errors import ServiceUnreachable
from lakehouse.ledger_entry import Entry
from lakehouse.object_store import s3_client
from lakehouse.settings import Settings
from lakehouse.tables import CLICK_EVENTS, quarantine_of
from streaming import object_register
from streaming.expansion import Taken, TakenObject
from streaming.finding import Finding

AT_ONCE = 8
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GONE = {404: "deleted since", 412: "overwritten since"}
NAMED = 3
BRONZE_LINES = 'select _source_file f, _etag e, _source_line n, 1 in_bronze from "bronze"."click_events"'
REJECTED = """select distinct origin f, origin_etag e, origin_position n, 0 in_bronze
    from "ops"."quarantine/click_events" where stage = 'bronze' and origin_position"""
TakenIn = tuple[Mark, TakenObject]
Version = tuple[str, str]
"""Address and etag."""


@dataclass(frozen=True)
class _Lines:
    """Lines of an object as they are in the bucket now, or why they can't be counted."""

    lines: int = 0
    blank: int = 0
    gone: str = ""


def findings(settings: Settings, entries: Iterable[Entry], at_most: int | None = None) -> Iterator[Finding]:
    """All comparisons of objects with the entries of their batches.

    Up to `at_most` of those that were read are fetched, chosen anew at each call (None: all of them). Raises
    `ServiceUnreachable`.
    """
    batches = {(one.query_id, one.batch_id): one for one in entries}
    # What a running stream has taken for a batch that has no entry yet is not looked at.
    taken = [(mark, one) for mark, one in object_register.taken(settings) if _batch(mark) in batches]
    yield _register(batches, taken)
    yield _faults(settings, taken)
    read = [(mark, one) for mark, one in taken if one.outcome == "read"]
    chosen = read if at_most is None else random.sample(read, min(at_most, len(read)))
    yield from _read_again(settings, batches, chosen, len(read))


def _register(batches: dict[tuple[str, int], Entry], taken: list[TakenIn]) -> Finding:
    """The register is a table of its own: it must name the objects whose digest each Bronze commit carries."""
    by_batch: dict[tuple[str, int], list[TakenObject]] = {}
    for mark, one in taken:
        by_batch.setdefault(_batch(mark), []).append(one)
    told = {batch: entry.objects["digest"] for batch, entry in batches.items() if entry.objects.get("count")}
    wrong = [
        f"batch {number}"
        for (query, number), digest in told.items()
        if Taken(tuple(by_batch.get((query, number), ()))).to_ledger()["digest"] != digest
    ]
    name = f"{CLICK_EVENTS.table}: batches whose objects are in the register"
    return Finding(name, len(told), len(told) - len(wrong), _named(wrong))


def _faults(settings: Settings, taken: list[TakenIn]) -> Finding:
    """An object that could not be read is one row of the quarantine, about the whole object (line 0)."""
    versions = {(one.address, one.etag) for _, one in taken if one.outcome != "read"}
    held = _rows(settings, versions, is_whole_object=True)
    wrong = [address for address, etag in versions if (address, etag) not in held]
    name = f"{CLICK_EVENTS.table}: objects that could not be read, and are in the quarantine"
    return Finding(name, len(versions), len(versions) - len(wrong), _named(wrong))


def _read_again(
    settings: Settings, batches: dict[tuple[str, int], Entry], chosen: list[TakenIn], of: int
) -> Iterator[Finding]:
    held = _rows(settings, {(one.address, one.etag) for _, one in chosen})
    counted = dict(zip(chosen, _counted(settings, [one for _, one in chosen]), strict=True))
    there = {one: lines for one, lines in counted.items() if not lines.gone}
    wrong = []
    for (mark, one), lines in there.items():
        rows, distinct = held.get((one.address, one.etag), (0, 0))
        dropped = _dropped_by_rules(batches.get(_batch(mark)))
        is_whole = lines.lines == one.lines and rows == distinct
        if not is_whole or not 0 <= lines.lines - lines.blank - distinct <= dropped:
            found = f"{lines.lines} lines ({lines.blank} blank), {one.lines} in the register, {distinct} in {rows} rows"
            wrong.append(f"{one.address}: {found}")
    note = _named(wrong) or "; ".join(_not_looked_at(counted.values(), of))
    yield Finding(
        f"{CLICK_EVENTS.table}: objects counted again in the bucket", len(there), len(there) - len(wrong), note
    )


def _not_looked_at(counted: Iterable[_Lines], of: int) -> Iterator[str]:
    gone = Counter(one.gone for one in counted)
    if left_out := of - gone.total():
        yield f"{left_out} of {of} were not chosen, see --objects"
    yield from (f"{count} {why}" for why, count in sorted(gone.items()) if why)


def _dropped_by_rules(entry: Entry | None) -> int:
    """Lines of a batch that a row rule dropped by name: which objects they were in is not kept."""
    return sum(rows for name, rows in entry.filtered.items() if name != "blank_line") if entry else 0


def _rows(settings: Settings, versions: set[Version], is_whole_object: bool = False) -> dict[Version, tuple[int, int]]:
    """Version -> rows that hold its lines (or, instead, the fault of the whole object), and how many different lines.

    A line that came back from the quarantine is in both tables: it is one row.
    """
    quarantine = quarantine_of(CLICK_EVENTS.table)
    connection = direct_read.connect(settings, CLICK_EVENTS.name, quarantine.name)
    chosen = sorted(versions)
    connection.register("chosen", pa.table({"f": [f for f, _ in chosen], "e": [e for _, e in chosen]}))
    sources = [] if is_whole_object else [BRONZE_LINES]
    if direct_read.open_table(settings, quarantine.name) is not None:
        sources.append(f"{REJECTED} {'=' if is_whole_object else '>'} 0")
    if not sources or not chosen:
        return {}
    each = f"""select f, e, n, greatest(sum(in_bronze), 1) held
        from ({" union all ".join(sources)}) semi join chosen using (f, e) group by all"""  # noqa: S608 - ours
    sql = f"select f, e, sum(held)::bigint, count(*) from ({each}) group by all"  # noqa: S608 - ours
    return {(address, etag): (rows, lines) for address, etag, rows, lines in direct_read.rows(connection, sql)}


def _counted(settings: Settings, objects: list[TakenObject]) -> list[_Lines]:
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="recount") as pool:
        return list(pool.map(partial(_count, s3_client(settings), settings), objects))


def _count(s3: Any, settings: Settings, one: TakenObject) -> _Lines:
    bucket, _, key = one.address.removeprefix("s3://").partition("/")
    try:
        answer = s3.get_object(Bucket=bucket, Key=key, IfMatch=f'"{one.etag}"')
        with tempfile.SpooledTemporaryFile(16 * 1024 * 1024) as file:
            for chunk in answer["Body"].iter_chunks(1024 * 1024):
                file.write(chunk)
            file.seek(0)
            return lines_of(file)
    except ClientError as error:
        gone = GONE.get(error.response["ResponseMetadata"]["HTTPStatusCode"])
        if gone and error.response["Error"]["Code"] != "NoSuchBucket":
            return _Lines(gone=gone)
        raise _unreachable(settings, error) from None
    except BotoCoreError as error:
        raise _unreachable(settings, error) from None


def _unreachable(settings: Settings, error: Exception) -> ServiceUnreachable:
    cure = f"Check the S3 settings and the rights on the bucket, or leave objects out: --objects 0 ({error})."
    return ServiceUnreachable("The landing store", settings.s3_endpoint or "AWS S3", cure)


def lines_of(packed: IO[bytes]) -> _Lines:
    """Lines of a whole object, packed or not, and how many of them are empty or blanks."""
    is_packed = packed.read(2) == b"\x1f\x8b"
    packed.seek(0)
    lines = blank = 0
    for line in gzip.GzipFile(fileobj=packed, mode="rb") if is_packed else packed:
        text = line if lines else line.removeprefix(BYTE_ORDER_MARK)
        ending = b"\r\n" if text.endswith(b"\r\n") else b"\n"
        lines += bool(text)
        blank += bool(text) and not text.removesuffix(ending).strip(b" ")
    return _Lines(lines, blank)


def _batch(mark: Mark) -> tuple[str, int]:
    """Query id and number, which name a batch's entry."""
    return mark.application.rpartition("/")[2], mark.batch


def _named(wrong: list[str]) -> str:
    more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return "; ".join(wrong[:NAMED]) + more
