"""Lines of an object, counted without the stream's own reader, are what that reader hands on."""

from __future__ import annotations

import gzip
import io

import pytest

from streaming.object_lines import texts_of
from streaming.object_reader import _unpacked
from streaming.object_recount import lines_of

BODIES = {
    b"": (0, 0),
    b"a\nb\n": (2, 0),
    b"a\nb": (2, 0),
    b"\xef\xbb\xbf": (0, 0),
    b"\xef\xbb\xbfa\n": (1, 0),
    b"a\r\n\r\n  \nb\r\n": (4, 2),
    b"\n\n": (2, 2),
    b"a\n\xef\xbb\xbf\n": (2, 0),
    b"a\n\t\n": (2, 0),
    b"a\n\r": (2, 0),
}
"""Content -> lines, and how many of them are blank."""


@pytest.mark.parametrize("body", BODIES)
def test_lines_and_blank_lines(body: bytes) -> None:
    counted, packed = lines_of(io.BytesIO(body)), lines_of(io.BytesIO(gzip.compress(body)))
    assert (counted.lines, counted.blank) == BODIES[body] == (packed.lines, packed.blank)


@pytest.mark.parametrize("body", BODIES)
def test_the_reader_of_the_stream_hands_on_as_many(body: bytes) -> None:
    content, fault = _unpacked(io.BytesIO(gzip.compress(body)))
    assert content is not None
    assert fault == ""
    assert sum(text.count(b"\n") for text in texts_of(content)) == BODIES[body][0]
