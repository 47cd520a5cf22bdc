"""Bytes become lines without a byte lost, in chunks of any size, and tasks get shares alike in cost."""

from __future__ import annotations

import gzip
import io
from typing import Any

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from lakehouse.errors import ServiceUnreachable
from lakehouse.object_store import Store
from streaming import object_lines, object_reader
from streaming.click_objects import _shares
from streaming.object_lines import Part, lines_of, parts_of, rows, texts_of
from streaming.object_reader import _fetch, _has_huge_line, _unpacked

PLACE = {"etag": "e", "_topic": "t", "_partition": 0, "_offset": 5, "_kafka_at": None}


def lines(content: bytes) -> list[bytes]:
    texts = texts_of(io.BytesIO(content))
    return [line for text in texts for line in lines_of(text).cast("binary").to_pylist()]


def item(name: str, **more: Any) -> Any:
    return pa.scalar(PLACE | {"_source_file": name} | more)


def test_lines_keep_every_byte_but_their_ends() -> None:
    assert lines(b"a\r\n\n\xff\x00b\n") == [b"a", b"", b"\xff\x00b"]
    assert lines(b"a\n\r\nb\r") == [b"a", b"", b"b\r"]


@pytest.mark.parametrize("chunk", [4, 5, 7, 100])
def test_lines_are_the_same_however_an_object_is_cut(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_lines, "CHUNK_BYTES", chunk)
    assert lines(b"\xef\xbb\xbfabc\r\nd\n\nefghijklmno\np") == [b"abc", b"d", b"", b"efghijklmno", b"p"]


@pytest.mark.parametrize("chunk", [3, 100])
def test_lines_of_small_objects_go_together_and_keep_their_places(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_lines, "CHUNK_BYTES", chunk)
    bad = Part(item("bad", notification=b"\xff\n", _source_line=7), fault="missing_object")
    first, last = (list(parts_of(item(name), io.BytesIO(text))) for name, text in (("a", b"x\ny\n\nz"), ("b", b"w\n")))
    batches = list(rows([*first, *last, bad, *last], longest=100))
    found = [
        (row["_source_file"], row["_source_line"], row["value"], row["_object_fault"], row["is_plain"], row["_offset"])
        for batch in batches
        for row in batch.set_column(0, "value", batch["value"].cast("binary")).to_pylist()
    ]
    of_a = [("a", number, line, None, False, 5) for number, line in enumerate((b"x", b"y", b"", b"z"), start=1)]
    of_b = ("b", 1, b"w", None, False, 5)
    assert found == [*of_a, of_b, ("bad", 7, b"\xff\n", "missing_object", False, 5), of_b]
    assert len(batches) == (3 if chunk == 100 else 6)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_object_has_no_lines(content: bytes) -> None:
    assert lines(content) == []


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(b"x" * 999)[:-1], gzip.compress(b"x" * 999)[:12], b"\x1f\x8b", b"\x1f\x8b and something else"],
)
def test_a_gzip_that_does_not_end_well_gives_no_line(packed: bytes) -> None:
    assert _unpacked(io.BytesIO(packed)) == (None, "unreadable_object")


def test_a_gzip_that_holds_too_much_gives_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_reader, "UNPACKED_AT_MOST", 998)
    assert _unpacked(io.BytesIO(gzip.compress(b"x" * 999))) == (None, "unreadable_object")


@pytest.mark.parametrize("chunk", [1, 4, 5])
def test_a_line_that_would_not_fit_into_memory_is_found(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_reader, "LONGEST_LINE", 5)
    monkeypatch.setattr(object_reader, "CHUNK_BYTES", chunk)
    contents = {b"abcde\nabcde\nabcde": False, b"a\nabcdef\nb": True, b"a\nabcdef": True, b"abcdef\na": True}
    for content, is_there in contents.items():
        assert _has_huge_line(io.BytesIO(content)) == is_there


def test_a_chunk_of_very_many_lines_is_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_lines, "MOST_LINES", 2)
    batches = list(rows(parts_of(item("a"), io.BytesIO(b"\n\n\n\n\nx")), longest=100))
    assert [batch.num_rows for batch in batches] == [2, 2, 2]
    assert [row["_source_line"] for batch in batches for row in batch.to_pylist()] == [1, 2, 3, 4, 5, 6]


def test_a_gzip_of_several_members_is_read_to_its_end() -> None:
    content, fault = _unpacked(io.BytesIO(gzip.compress(b"a\n") + gzip.compress(b"b\n")))
    assert content is not None
    assert (content.read(), fault) == (b"a\nb\n", "")


class Refusing:
    """A store that gives no object, for a reason, and lets in or not."""

    def __init__(self, code: str, status: int, lets_in: bool) -> None:
        self.answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        self.lets_in = lets_in

    def get_object(self, **_: Any) -> None:
        raise ClientError(self.answer, "GetObject")

    def head_bucket(self, **_: Any) -> None:
        if not self.lets_in:
            raise ClientError(self.answer, "HeadBucket")


def fetched_from(store: Refusing, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
    monkeypatch.setattr(object_reader, "client_of", lambda _: store)
    one = item("s3://landing/a", bucket="landing", key="a", size=1, fault=None)
    return _fetch(Store("http://127.0.0.1:1", "us-east-1", "", ""), one)


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        ("NoSuchKey", 404, "missing_object"),
        ("PreconditionFailed", 412, "overwritten_object"),
        ("InvalidObjectState", 403, "refused_object"),
        ("KeyTooLongError", 400, "unreadable_object"),
        ("AccessDenied", 403, "refused_object"),
        ("InvalidRequest", 400, "refused_object"),
    ],
)
def test_what_is_about_one_object_holds_up_no_other(
    code: str, status: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetched_from(Refusing(code, status, lets_in=True), monkeypatch) == (None, fault)


@pytest.mark.parametrize(
    ("code", "status", "lets_in"),
    [("AccessDenied", 403, False), ("ExpiredToken", 400, False), ("NoSuchBucket", 404, False), ("SlowDown", 503, True)],
)
def test_what_is_about_the_store_is_no_fault_of_an_object(
    code: str, status: int, lets_in: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ServiceUnreachable, match=code):
        fetched_from(Refusing(code, status, lets_in), monkeypatch)


def test_a_store_does_not_show_its_keys() -> None:
    assert "hidden" not in repr(Store("http://127.0.0.1:1", "us-east-1", "hidden", "hidden"))


def test_shares_of_tasks_are_alike_and_hold_each_object_once() -> None:
    items: list[dict[str, Any]] = [{"number": number, "size": (number % 7) * 1_000_000} for number in range(100)]
    shares = _shares(items, 4)
    assert sorted(one["number"] for share in shares for one in share) == list(range(100))
    sizes = [sum(one["size"] for one in share) for share in shares]
    assert max(sizes) - min(sizes) <= 2_000_000
