"""A lease kept as one small object on S3: taken, renewed and taken over by conditional puts, so the store decides.

The object names its holder and is written again while it is held. One that was not written for its `seconds` is over
and may be taken over. How old it is, the store says (its own clock, in `Date` and `Last-Modified`); clocks of drivers
are never compared.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lakehouse.errors import LeaseLost, ServiceUnreachable, StoreIgnoresConditions
from lakehouse.logs import get_logger
from lakehouse.object_store import Store

log = get_logger(__name__)
RENEWALS_PER_TERM = 4
HELD_SHARE = 0.75
"""A holder that could not renew stops after this share of the term: the rest is for a commit that is under way, and
for times in whole seconds.
"""
REFUSED = (404, 409, 412)
"""The object is gone, is being written by somebody else, or is not what the condition says."""


@dataclass(frozen=True)
class _Seen:
    """The object as the store showed it."""

    body: bytes
    etag: str
    age_seconds: float

    @property
    def says(self) -> dict[str, Any]:
        """Its content."""
        return dict(json.loads(self.body))

    @property
    def seconds_left(self) -> float:
        """Until it is over, unless its holder renews it."""
        return float(self.says["seconds"]) - self.age_seconds

    def __str__(self) -> str:
        told = self.says
        left = max(0, round(self.seconds_left))
        return f"process {told['pid']} on {told['host']}; it ends in {left} s unless it is renewed"


class StoreLease:
    """The lease of one object; `seconds` is its term."""

    def __init__(self, name: str, store: Store, client: Any, bucket: str, key: str, seconds: float) -> None:
        self._name, self._store, self._client = name, store, client
        self._place = {"Bucket": bucket, "Key": key}
        self._seconds = seconds
        self._token = secrets.token_hex(8)
        self._puts = 0
        self._etag = ""
        self._renewed_at = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.lost = ""

    def take(self, when_lost: Callable[[], None]) -> str:
        """Take it, or take it over when it is over; returns who holds it instead, or an empty text.

        From then on a thread renews it. Raises `ServiceUnreachable`, `StoreIgnoresConditions`.
        """
        seen = self._look()
        if seen and seen.seconds_left >= 0:
            return str(seen)
        is_ours = self._put(IfMatch=seen.etag) if seen else self._put(IfNoneMatch="*")
        # A store that compares and writes in two moves may let two through; what stands in the end counts.
        if not is_ours or not self._stands():
            return str(self._look() or "a process that took it at the same moment")
        self._require_conditions()
        if seen:
            log.warning("lease_taken_over", lease=self._name, from_holder=str(seen))
        threading.Thread(target=self._keep, args=(when_lost,), name=f"lease-{self._name}", daemon=True).start()
        return ""

    def holder(self) -> str:
        """Who holds it, or an empty text: one GET."""
        seen = self._look()
        return str(seen) if seen and seen.seconds_left >= 0 else ""

    def require(self) -> None:
        """Raise `LeaseLost` unless the store still shows what we wrote last: one HEAD. Raises `ServiceUnreachable`."""
        with self._lock:
            if not self.lost and self._is_stale():
                self._lose("it could not be renewed in time")
            if not self.lost and not self._stands():
                self._lose_to(self._look())
            if self.lost:
                raise LeaseLost(self.lost)

    def release(self) -> None:
        """Remove the object, if it is still ours. What can't be removed is over after its term."""
        self._ended.set()
        with self._lock:
            if self.lost or not self._etag:
                return
            etag, self._etag = self._etag, ""
            try:
                self._ask("delete_object", REFUSED, IfMatch=etag)
            except ServiceUnreachable as error:
                log.warning("lease_not_released", lease=self._name, reason=str(error), ends_in_seconds=self._seconds)

    def _keep(self, when_lost: Callable[[], None]) -> None:
        while not self._ended.wait(self._seconds / RENEWALS_PER_TERM):
            with self._lock:
                # Given back, or found lost by `require`, while we waited.
                if not self._ended.is_set() and not self.lost:
                    self._renew()
                if self.lost:
                    break
        if self.lost:
            log.error("lease_lost", lease=self._name, reason=self.lost)
            when_lost()

    def _renew(self) -> None:
        try:
            if not self._put(IfMatch=self._etag):
                seen = self._look()
                # Refused for a put that crossed ours, and still as we wrote it: the next turn renews it.
                if not seen or seen.etag != self._etag:
                    self._lose_to(seen)
        except ServiceUnreachable as error:
            log.warning("lease_not_renewed", lease=self._name, reason=str(error))
        if not self.lost and self._is_stale():
            self._lose("it could not be renewed in time")

    def _lose_to(self, seen: _Seen | None) -> None:
        self._lose(f"now held by {seen}" if seen else "its object was removed")

    def _lose(self, how: str) -> None:
        self.lost = f"the lease {self._name} (s3://{self._place['Bucket']}/{self._place['Key']}): {how}"

    def _is_stale(self) -> bool:
        return _now() - self._renewed_at > self._seconds * HELD_SHARE

    def _put(self, **condition: str) -> bool:
        """Write our content under a condition; whether it was written."""
        self._puts += 1
        # The count makes each content, and so each etag, another: a rival's look at an older one is of no use to it.
        says = {"host": socket.gethostname(), "pid": os.getpid(), "seconds": self._seconds, "token": self._token}
        body = json.dumps(says | {"puts": self._puts}).encode()
        began = _now()
        answer = self._ask("put_object", REFUSED, Body=body, ContentType="application/json", **condition)
        # The client repeats a request whose answer was lost, and the repeat is refused by what the first one wrote.
        if answer is None and (seen := self._look()) and seen.body == body:
            answer = {"ETag": seen.etag}
        if answer is None:
            return False
        self._etag, self._renewed_at = answer["ETag"], began
        return True

    def _look(self) -> _Seen | None:
        answer = self._ask("get_object")
        if answer is None:
            return None
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return _Seen(answer["Body"], answer["ETag"], (now - answer["LastModified"]).total_seconds())

    def _stands(self) -> bool:
        answer = self._ask("head_object")
        return answer is not None and answer["ETag"] == self._etag

    def _ask(self, operation: str, refusals: tuple[int, ...] = (404,), **arguments: Any) -> dict[str, Any] | None:
        """The store's answer with its whole body, or None for one of the refusals. Raises `ServiceUnreachable`."""
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**self._place, **arguments)
            return answer | {"Body": answer["Body"].read()} if "Body" in answer else answer
        except ClientError as error:
            status, code = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
            if status in refusals and code != "NoSuchBucket":
                return None
            raise self._unreachable(error) from None
        except BotoCoreError as error:
            raise self._unreachable(error) from None

    def _require_conditions(self) -> None:
        """A store that writes whatever the condition says would give the lease to everybody."""
        if self._put(IfNoneMatch="*"):
            self.release()
            raise StoreIgnoresConditions(self._store.address)

    def _unreachable(self, error: Exception) -> ServiceUnreachable:
        cure = f"The lease {self._name} is kept there: check the S3 settings and the rights on {self._place['Bucket']}"
        return ServiceUnreachable("The store of the warehouse", self._store.address, f"{cure} ({error}).")


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
