"""Lines that are byte for byte what the declared fields look like in JSON -> columns, a whole chunk at a time.

In a text without a backslash a quote begins or ends something. So a chunk is cut at all its quotes at once, and a line
is plain when the pieces between them are those that such a line has, one after the other. What any other line means is
for `click_events.transform` to say; of a plain one it would say the same, by reading it as JSON.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.contracts.declared import CLICK_FIELDS

TEXTS = tuple(field.name for field in CLICK_FIELDS[:-1])
MAP = CLICK_FIELDS[-1].name
TEXT_OF = {name: f"{name}_text" if name == "timestamp" else name for name in TEXTS}
"""Declared field -> the column of its text."""
READ = f"is_plain boolean, {', '.join(f'{column} string' for column in TEXT_OF.values())}, {MAP} map<string,string>"
"""What is known of a line before it is read as JSON; all but `is_plain` is null for a line that is not plain."""
TYPES: dict[str, Any] = {
    "is_plain": pa.bool_(),
    **dict.fromkeys(TEXT_OF.values(), pa.string()),
    MAP: pa.map_(pa.string(), pa.string()),
}
COLUMNS = tuple(TYPES)
NESTING = 2
"""Levels of a plain line: itself and its map."""
LONGEST = 32 * 1024
"""Bytes of a plain line at most: below each limit that a JSON reader has, as that for the length of a name."""
MOST_ENTRIES = 100
"""Entries of the map in a plain line: a JSON reader refuses many names that fall on one place of its table of names."""
QUOTE, LINE_FEED, BACKSLASH = b'"\n\\'
BLANK = ord(" ")
Places = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


def _spellings(piece: str) -> pa.Array[Any]:
    """As collectors write it: without blanks, or with one after each comma and colon."""
    return pa.array(sorted({piece, piece.replace(":", ": ").replace(",", ", ")}), pa.string())


BEGIN, COLON, COMMA, END = (_spellings(piece) for piece in ("{", ":", ",", "}"))
NULL_COMMA, NULL_END = _spellings(":null,"), _spellings(":null}")
MAP_BEGIN, MAP_END, MAP_EMPTY = _spellings(":{"), _spellings("}}"), _spellings(":{}}")


def read(text: bytes, max_bytes: int = LONGEST) -> list[Any]:
    """The columns of `READ`, as Arrow arrays, for lines that a line feed closes. A longer line is not plain."""
    chunk = _Chunk(text)
    walk = _Walk(chunk)
    columns = [walk.text(name) for name in TEXTS]
    entries = walk.map(MAP)
    is_plain = walk.is_whole & ~chunk.has_odd_bytes & (chunk.lengths <= min(max_bytes, LONGEST))
    texts = [chunk.take(where, is_plain & (where >= 0)) for where in columns]
    return [pa.array(is_plain), *texts, _maps(chunk, *entries, is_plain)]


class _Chunk:
    """The pieces of a chunk of lines: what stands between two quotes, or a quote and the line's end."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._bytes = np.frombuffer(text, np.uint8)
        cuts = np.flatnonzero((self._bytes == QUOTE) | (self._bytes == LINE_FEED))
        self.last: Places = np.flatnonzero(self._bytes[cuts] == LINE_FEED)
        """Of each line, the number of its last piece."""
        self.first: Places = np.concatenate((np.zeros(1, np.int64), self.last[:-1] + 1))
        self._ends = cuts[self.last]
        self._most = len(cuts) - 1
        offsets = np.zeros(len(cuts) + 1, np.int32)
        # Without the bytes that were cut at, the n-th piece (from 0) ends n bytes earlier.
        offsets[1:] = cuts - np.arange(len(cuts))
        buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(text.translate(None, b'"\n'))]
        self._pieces = pa.Array.from_buffers(pa.string(), len(cuts), buffers)

    def take(self, where: Places, are_there: Truths | None = None) -> Any:
        """The pieces of these numbers; null where there is none."""
        within = np.clip(where, 0, self._most)
        indices: Any = pa.array(within, mask=None if are_there is None else ~are_there)
        return pc.take(self._pieces, indices, boundscheck=False)

    def are(self, where: Places, spellings: Any) -> Truths:
        """Whether the pieces of these numbers are one of the spellings."""
        return _truths(pc.is_in(self.take(where), value_set=spellings))

    @cached_property
    def lengths(self) -> Places:
        """Of each line, its bytes."""
        return np.diff(self._ends, prepend=-1) - 1

    @cached_property
    def has_odd_bytes(self) -> Truths:
        """Of each line, whether it holds a backslash, a control character or, perhaps, what is no UTF-8."""
        found = np.zeros(len(self._ends), np.bool_)
        is_control = self._bytes < BLANK
        if BACKSLASH in self._text or np.count_nonzero(is_control) > len(self._ends):
            is_odd = (is_control & (self._bytes != LINE_FEED)) | (self._bytes == BACKSLASH)
            found[np.searchsorted(self._ends, np.flatnonzero(is_odd))] = True
        if not _is_utf8(self._text):
            found[np.searchsorted(self._ends, np.flatnonzero(self._bytes > 127))] = True
        return found


class _Walk:
    """Goes along all lines of a chunk at once, a declared field at each step; a field may be null or absent.

    A walk that leaves its line does not come back to it: then it does not end at the line's last piece.
    """

    def __init__(self, chunk: _Chunk) -> None:
        self._chunk = chunk
        # A brace alone is a line that begins right and ends at once.
        self._is_right = chunk.are(chunk.first, BEGIN) & (chunk.first < chunk.last)
        self._at = chunk.first + 1

    @property
    def is_whole(self) -> Truths:
        """Whether the line was right to its last piece."""
        is_at_end: Truths = self._at == self._chunk.last + 1
        return self._is_right & is_at_end

    def text(self, name: str) -> Places:
        """Step over a field that is a text; returns the numbers of the pieces that are its values, -1 for no value."""
        chunk, is_named = self._chunk, self._is_named(name)
        has_value = is_named & chunk.are(self._at + 1, COLON)
        value = np.where(has_value, self._at + 2, -1)
        goes_on = has_value & self._goes_on(self._at + 3, COMMA, END)
        if (is_null := is_named & ~has_value).any():
            goes_on |= is_null & self._null_goes_on()
        self._step(is_named, goes_on, np.where(has_value, 4, 2))
        return value

    def map(self, name: str) -> tuple[Places, Places, Truths]:
        """Step over the last field, a map of texts; returns where its first key is, the number of its entries (a
        multiple of a quarter where the line is not plain) and whether it has a value.
        """
        chunk, is_named = self._chunk, self._is_named(name)
        left = chunk.last - self._at - 1
        has_entries = (left > 0) & (left % 4 == 0) & (left <= 4 * MOST_ENTRIES)
        is_filled = is_named & chunk.are(self._at + 1, MAP_BEGIN) & has_entries
        is_empty = is_named & chunk.are(self._at + 1, MAP_EMPTY)
        sizes = np.where(is_filled, left // 4, 0)
        begin = self._at + 2
        goes_on = np.where(is_filled, self._entries_are_right(begin, sizes), is_empty | self._null_goes_on())
        self._step(is_named, goes_on, np.where(is_filled, left + 2, 2))
        return begin, sizes, is_filled | is_empty

    def _is_named(self, name: str) -> Truths:
        return self._chunk.are(self._at, pa.array([name]))

    def _goes_on(self, where: Places, inside: Any, at_the_end: Any) -> Truths:
        is_last: Truths = where == self._chunk.last
        goes_on = ~is_last & self._chunk.are(where, inside)
        # Lines of one collector are alike: most have their last field in the same place, and none ends before it.
        return goes_on | (is_last & self._chunk.are(where, at_the_end)) if is_last.any() else goes_on

    def _null_goes_on(self) -> Truths:
        return self._goes_on(self._at + 1, NULL_COMMA, NULL_END)

    def _step(self, is_named: Truths, goes_on: Truths, pieces: Places) -> None:
        self._is_right &= ~is_named | goes_on
        self._at = self._at + np.where(is_named, pieces, 0)

    def _entries_are_right(self, begin: Places, sizes: Places) -> Truths:
        chunk = self._chunk
        keys, of_line = _each_entry(begin, sizes), np.repeat(np.arange(len(sizes)), sizes)
        closed = np.where(keys + 3 == chunk.last[of_line], chunk.are(keys + 3, MAP_END), chunk.are(keys + 3, COMMA))
        is_wrong = ~(chunk.are(keys + 1, COLON) & closed)
        none_is_wrong: Truths = np.bincount(of_line[is_wrong], minlength=len(sizes)) == 0
        return none_is_wrong


def _each_entry(begin: Places, sizes: Places) -> Places:
    """The numbers of the pieces that are keys: four pieces for each entry."""
    before = np.cumsum(sizes) - sizes
    return np.repeat(begin - 4 * before, sizes) + 4 * np.arange(int(sizes.sum()))


def _maps(chunk: _Chunk, begin: Places, sizes: Places, has_map: Truths, is_plain: Truths) -> Any:
    sizes = np.where(is_plain, sizes, 0)
    keys = _each_entry(begin, sizes)
    offsets: Any = pa.array(np.concatenate((np.zeros(1, np.int32), np.cumsum(sizes, dtype=np.int32))))
    is_null: Any = pa.array(~(is_plain & has_map))
    maps: Any = pa.MapArray
    return maps.from_arrays(offsets, chunk.take(keys), chunk.take(keys + 2), TYPES[MAP], mask=is_null)


def _truths(array: Any) -> Truths:
    found: Truths = array.to_numpy(zero_copy_only=False)
    return found


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
