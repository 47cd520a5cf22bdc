"""Objects -> lines, in the Python workers of the tasks: one conditional GET per object, whole or not at all.

Why not Spark's text source: it reads whatever version is there, tells no line numbers without a second pass, and one
truncated gzip stops the batch or (told to ignore it) vanishes without a trace.
"""

from __future__ import annotations

import gc
import gzip
import io
import shutil
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import IO, Any

import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError
from pyspark import Accumulator, AccumulatorParam

from lakehouse.errors import ServiceUnreachable
from lakehouse.object_store import TRIES, Store, client_of
from streaming.object_lines import CHUNK_BYTES, Item, Outcome, Part, parts_of, rows

ITEM = (
    "number int, bucket string, key string, size bigint, etag string, fault string, notification binary, "
    "_source_file string, _source_line bigint, _topic string, _partition int, _offset bigint, _kafka_at timestamp"
)
"""One object to read; `fault` is set for a notification that names none."""
IN_MEMORY_BYTES = 16 * 1024 * 1024
"""Larger objects wait for their turn in a temporary file."""
AHEAD = 3
"""Objects that a task fetches while it hands on the lines of another: hides the store's latency."""
UNREADABLE = "unreadable_object"
UNPACKED_AT_MOST = 4 * 1024**3
"""Bytes that a gzip may hold: more would fill the disk of the task."""
LONGEST_LINE = 64 * 1024 * 1024
"""Bytes of a line: a longer one would not fit into memory, where it is held several times."""
NEVER_THERE = "KeyTooLongError"
"""What a store answers about a key that can't be."""
ARCHIVED = "InvalidObjectState"
CURE = "Check the S3 settings and the rights on the bucket; the batch is read again at the next start"
FAULTS = ("bad_notification", "missing_object", "overwritten_object", "refused_object", "wrong_size", UNREADABLE)
"""What keeps a whole object from being read."""
Content = IO[bytes] | None
"""An object's whole content; None where a fault keeps it from being read."""


class Outcomes(AccumulatorParam[dict[int, Outcome]]):
    """Number of the object -> its outcome. A task that runs again gives the same entries, so nothing counts twice."""

    def zero(self, value: dict[int, Outcome]) -> dict[int, Outcome]:
        """Nothing read yet."""
        return {}

    def addInPlace(  # noqa: N802 - Spark's own name
        self, value1: dict[int, Outcome], value2: dict[int, Outcome]
    ) -> dict[int, Outcome]:
        """The entries of both."""
        value1.update(value2)
        return value1


def line_reader(
    store: Store, outcomes: Accumulator[dict[int, Outcome]], longest: int
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `mapInArrow`: rows that hold an array of `ITEM`s -> rows of `object_lines.LINE`.

    A line of more than `longest` bytes is never plain.
    """

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        _keep_modules()
        items = (item for batch in batches for item in _flat(batch))
        with ThreadPoolExecutor(AHEAD, thread_name_prefix="fetch") as pool:
            fetched = _ahead(pool, lambda one: _fetch(store, one), items)
            yield from rows(_parts(fetched, outcomes), longest)

    return read


@cache
def _keep_modules() -> None:
    # PySpark's worker collects garbage after each task, and would look through all modules for it: 0.2 s of a core.
    gc.freeze()


def _parts(
    fetched: Iterable[tuple[Item, tuple[Content, str]]], outcomes: Accumulator[dict[int, Outcome]]
) -> Iterator[Part]:
    for item, (content, fault) in fetched:
        lines = 0
        if content is None:
            yield Part(item, fault=fault)
        else:
            for part in parts_of(item, content):
                lines = part.last_line
                yield part
        outcomes.add({item["number"].as_py(): (lines, fault)})


def _flat(batch: Any) -> Iterable[Item]:
    items: Iterable[Item] = batch.column(0).flatten()
    return items


def _ahead(
    pool: ThreadPoolExecutor,
    fetch: Callable[[Item], tuple[Content, str]],
    items: Iterable[Item],
) -> Iterator[tuple[Item, tuple[Content, str]]]:
    waiting: deque[tuple[Item, Future[tuple[Content, str]]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(fetch, item)))
        if len(waiting) > AHEAD:
            first, fetched = waiting.popleft()
            yield first, fetched.result()
    for first, fetched in waiting:
        yield first, fetched.result()


def _fetch(store: Store, item: Item) -> tuple[Content, str]:
    """The whole decompressed content, or the fault that keeps it from being read.

    Raises `ServiceUnreachable` for trouble of the store, which is no fault of the object.
    """
    named = item.as_py()
    if named["fault"]:
        return None, named["fault"]
    for tries_left in reversed(range(TRIES)):
        try:
            return _get(client_of(store), named)
        except ClientError as error:
            return None, _fault(error, store, named)
        except BotoCoreError as error:
            # The connection broke in the middle of the body, which the client itself does not try again.
            if not tries_left:
                cure = f"{CURE} ({type(error).__name__})."
                raise ServiceUnreachable("The landing store", store.address, cure) from None
    raise AssertionError("not reached")


def _fault(error: ClientError, store: Store, named: dict[str, Any]) -> str:
    """What the store's answer says about the object. Raises `ServiceUnreachable` where it is not about the object."""
    code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    if status == 412:
        return "overwritten_object"
    if status == 404 and code != "NoSuchBucket":
        return "missing_object"
    if code == NEVER_THERE:
        return UNREADABLE
    if code == ARCHIVED:
        # Once it is restored it is the same version.
        return "refused_object"
    # Encrypted with a key that is not ours, for one: the next object may be well. A wrong secret is refused everywhere.
    if status in (400, 403) and _serves(client_of(store), named["bucket"]):
        return "refused_object"
    raise ServiceUnreachable(f"{named['_source_file']}", store.address, f"{CURE} ({code}).") from None


def _serves(client: Any, bucket: str) -> bool:
    """Whether the store lets us into the bucket; needs the right to list it."""
    try:
        client.head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError):
        return False
    return True


def _get(client: Any, named: dict[str, Any]) -> tuple[Content, str]:
    # The store compares: what is read is the version that was notified, or nothing.
    answer = client.get_object(Bucket=named["bucket"], Key=named["key"], IfMatch=f'"{named["etag"]}"')
    body = answer["Body"]
    if answer["ContentLength"] != named["size"]:
        body.close()
        return None, "wrong_size"
    stored = _kept(body, named["size"])
    content, fault = _unpacked(stored) if _is_packed(stored) else (stored, "")
    if content is not None and _has_huge_line(content):
        content.close()
        return None, UNREADABLE
    return content, fault


def _is_packed(content: IO[bytes]) -> bool:
    is_gzip = content.read(2) == b"\x1f\x8b"
    content.seek(0)
    return is_gzip


def _has_huge_line(content: IO[bytes]) -> bool:
    if content.seek(0, io.SEEK_END) <= LONGEST_LINE:
        content.seek(0)
        return False
    content.seek(0)
    length = 0
    while piece := content.read(CHUNK_BYTES):
        end = piece.find(b"\n")
        if length + (end if end >= 0 else len(piece)) > LONGEST_LINE:
            return True
        length = length + len(piece) if end < 0 else len(piece) - piece.rfind(b"\n") - 1
    content.seek(0)
    return False


def _kept(body: Any, size: int) -> IO[bytes]:
    if size <= IN_MEMORY_BYTES:
        return io.BytesIO(body.read())
    file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever reads it
    shutil.copyfileobj(body, file, CHUNK_BYTES)
    file.seek(0)
    return file


def _unpacked(packed: IO[bytes]) -> tuple[Content, str]:
    # Unpacked to its end before its first line is handed on: a truncated one gives no lines instead of half of them.
    content = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - as above
    try:
        with gzip.GzipFile(fileobj=packed) as stream:
            while content.tell() <= UNPACKED_AT_MOST and (piece := stream.read(CHUNK_BYTES)):
                content.write(piece)
        is_whole = content.tell() <= UNPACKED_AT_MOST
    except (EOFError, gzip.BadGzipFile, zlib.error):
        is_whole = False
    if not is_whole:
        content.close()
        return None, UNREADABLE
    content.seek(0)
    return content, ""
