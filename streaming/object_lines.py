"""The bytes of objects -> rows of lines, in the Python workers of the tasks.

An object goes in chunks, so that one larger than memory does too; the lines of small ones go together, because a batch
of Arrow's costs the same for three lines as for a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa

from streaming import plain_lines

LINE = (
    f"value string, {plain_lines.READ}, _source_line bigint, _object_fault string, _source_file string, _etag string, "
    "_topic string, _partition int, _offset bigint, _kafka_at timestamp"
)
CHUNK_BYTES = 4 * 1024 * 1024
MOST_LINES = 100_000
"""Lines of a batch at most."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
Outcome = tuple[int, str]
"""Lines handed on, and the fault or an empty text."""
Item = Any
"""An `object_reader.ITEM` as Arrow's struct scalar: its values go from the task's input to its output as they are."""
OF_ITEM = {"_source_file": "_source_file", "_etag": "etag"} | {
    name: name for name in ("_topic", "_partition", "_offset", "_kafka_at")
}
"""Columns of all lines of an object -> the item's field."""


@dataclass(frozen=True)
class Part:
    """Whole lines of an object, each closed by a line feed; or a fault, with no lines."""

    item: Item
    text: bytes = b""
    first_line: int = 1
    lines: int = 0
    fault: str = ""

    @property
    def last_line(self) -> int:
        """Its number in the object; lines are counted from 1."""
        return self.first_line + self.lines - 1


def parts_of(item: Item, content: IO[bytes]) -> Iterator[Part]:
    """An object's lines in order; closes the content."""
    first_line = 1
    for chunk in texts_of(content):
        for text in _with_fewer_lines(chunk):
            lines = text.count(b"\n")
            yield Part(item, text, first_line, lines)
            first_line += lines


def _with_fewer_lines(text: bytes) -> Iterator[bytes]:
    # A chunk of nothing but line feeds would be millions of rows.
    begin = 0
    if text.count(b"\n") > MOST_LINES:
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
        for end in ends[MOST_LINES - 1 : -1 : MOST_LINES]:
            yield text[begin:end]
            begin = end
    yield text[begin:]


def texts_of(content: IO[bytes]) -> Iterator[bytes]:
    """Chunks of whole lines, each closed by a line feed alone: a carriage return before it belongs to it. Closes the
    content.
    """
    with content:
        head = content.read(CHUNK_BYTES).removeprefix(BYTE_ORDER_MARK)
        rest = b""
        while head:
            text = rest + head
            cut = text.rfind(b"\n") + 1
            rest = text[cut:]
            if cut:
                yield text[:cut].replace(b"\r\n", b"\n")
            head = content.read(CHUNK_BYTES)
        if rest:
            yield rest + b"\n"


def rows(parts: Iterable[Part], longest: int) -> Iterator[pa.RecordBatch]:
    """Rows of `LINE`, in the order of the parts."""
    waiting: list[Part] = []
    size = lines = 0
    for part in parts:
        is_full = size + len(part.text) > CHUNK_BYTES or lines + part.lines > MOST_LINES
        if waiting and (part.fault or is_full):
            yield _lines(waiting, longest)
            waiting, size, lines = [], 0, 0
        if part.fault:
            yield _fault(part)
        else:
            waiting.append(part)
            size, lines = size + len(part.text), lines + part.lines
    if waiting:
        yield _lines(waiting, longest)


def _lines(parts: Sequence[Part], longest: int) -> pa.RecordBatch:
    text = b"".join(part.text for part in parts) if len(parts) > 1 else parts[0].text
    numbers = [np.arange(part.first_line, part.last_line + 1) for part in parts]
    of_part = pa.array(np.repeat(np.arange(len(parts)), [part.lines for part in parts]))
    items = {
        name: pa.array([part.item[field].as_py() for part in parts], parts[0].item[field].type)
        for name, field in OF_ITEM.items()
    }
    count = len(of_part)
    arrays = {
        "value": lines_of(text),
        **dict(zip(plain_lines.COLUMNS, plain_lines.read(text, longest), strict=True)),
        "_source_line": pa.array(np.concatenate(numbers)),
        "_object_fault": pa.nulls(count, pa.string()),
        **{name: values.take(of_part) for name, values in items.items()},
    }
    return pa.RecordBatch.from_pydict(arrays)


def _fault(part: Part) -> pa.RecordBatch:
    item = part.item
    arrays = {
        "value": pa.array([item["notification"].as_py()], pa.binary()).view(pa.string()),
        **{name: pa.nulls(1, kind) for name, kind in plain_lines.TYPES.items()},
        "is_plain": pa.array([False]),
        # A fault has a place of its own: 0 for a whole object, the record's offset for a notification.
        "_source_line": pa.array([item["_source_line"].as_py()], pa.int64()),
        "_object_fault": pa.array([part.fault]),
        **{name: pa.array([item[field].as_py()], item[field].type) for name, field in OF_ITEM.items()},
    }
    return pa.RecordBatch.from_pydict(arrays)


def lines_of(text: bytes) -> pa.Array[Any]:
    """Lines that a line feed closes, as an array of texts whose bytes nobody checked."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    offsets = np.zeros(len(ends) + 1, np.int32)
    # Without the line feeds, the n-th line (from 0) ends n bytes earlier.
    offsets[1:] = ends - np.arange(len(ends))
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(text.replace(b"\n", b""))]
    return pa.Array.from_buffers(pa.string(), len(ends), buffers)
