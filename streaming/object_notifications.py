"""What a record on the notifications topic says: which objects were put, or why it names none. Plain Python.

Two forms are read: our own `{bucket, key, size, etag}`, and S3's event message `{"Records": [...]}`, bare (as stores
put it on Kafka and AWS on SQS) or in the envelope that SNS puts around it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import unquote_plus

LONGEST_KEY = 1024
"""Bytes of a key at most, in S3."""
ETAG = re.compile("[!-~]+")
KEY_DATE = re.compile(r"(?:^|/)date=(\d{4}-\d{2}-\d{2})/")


@dataclass(frozen=True)
class NotifiedObject:
    """One version of one object. An etag names a version's content; the size, in bytes, is what it must have."""

    bucket: str
    key: str
    size: int
    etag: str

    @property
    def address(self) -> str:
        """`s3://bucket/key`, the value of `_source_file`."""
        return f"s3://{self.bucket}/{self.key}"

    def to_json(self) -> bytes:
        """Our own form of a notification."""
        return json.dumps(vars(self), separators=(",", ":")).encode()


@dataclass(frozen=True)
class Notification:
    """What one record says: the objects that were put, and the records that are passed over, by name."""

    objects: tuple[NotifiedObject, ...] = ()
    ignored: tuple[str, ...] = ()
    is_bad: bool = False
    """The record can't be understood as a whole: it may name an object, so it must not be passed over."""


BAD = Notification(is_bad=True)


def key_date(key: str) -> date | None:
    """The UTC day in a key of the declared layout `<prefix>date=YYYY-MM-DD/...`; None for a key of another layout."""
    found = KEY_DATE.search(key)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def read(value: bytes | None, bucket: str, prefix: str) -> Notification:
    """Read one record. Objects outside of `bucket` and `prefix` are passed over as `outside_landing_prefix`."""
    try:
        return _without_strangers(_parsed(json.loads(value or b"")), bucket, prefix)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return BAD


def _parsed(message: Any) -> Notification:
    if message.get("Type") == "Notification" and "Message" in message:
        return _parsed(json.loads(message["Message"]))
    if message.get("Event") == "s3:TestEvent":
        # S3 sends it once when somebody configures notifications.
        return Notification(ignored=("test_event",))
    if "Records" in message:
        found = [_record(one) for one in message["Records"]]
        objects = tuple(one for one in found if isinstance(one, NotifiedObject))
        return Notification(objects, tuple(one for one in found if isinstance(one, str)))
    return Notification((_object(message["bucket"], message["key"], message["size"], message["etag"]),))


def _record(record: dict[str, Any]) -> NotifiedObject | str:
    # AWS writes `ObjectCreated:Put`, other stores `s3:ObjectCreated:Put`.
    event = record["eventName"].removeprefix("s3:")
    if not event.startswith("ObjectCreated:"):
        return "object_removed" if event.startswith("ObjectRemoved:") else "other_event"
    put = record["s3"]["object"]
    # An empty object may come without a size.
    return _object(record["s3"]["bucket"]["name"], unquote_plus(put["key"]), put.get("size", 0), put["eTag"])


def _object(bucket: Any, key: Any, size: Any, etag: Any) -> NotifiedObject:
    texts = (bucket, key, etag)
    if not all(isinstance(one, str) and one for one in texts) or type(size) is not int or not 0 <= size < 2**63:
        raise ValueError("bucket, key and etag must be texts, size a number of bytes")
    # A key that is no Unicode can't be encoded, and raises; an etag goes into a header of the request.
    if len(key.encode()) > LONGEST_KEY or not ETAG.fullmatch(etag := etag.strip('"')):
        raise ValueError("no key or no etag that a store can have")
    return NotifiedObject(bucket, key, size, etag)


def _without_strangers(found: Notification, bucket: str, prefix: str) -> Notification:
    ours = tuple(one for one in found.objects if one.bucket == bucket and one.key.startswith(prefix))
    strangers = len(found.objects) - len(ours)
    return Notification(ours, found.ignored + ("outside_landing_prefix",) * strangers)
