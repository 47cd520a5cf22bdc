"""Leases: one driver at a time writes the tables of a stream, or runs a night.

They are kept beside the tables, whatever home, settings or checkpoints a driver has: in a folder as a file lock, on
`s3a://` as an object, so that drivers on two machines are kept apart as well (docs/decisions/0013-lease.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from lakehouse.errors import LeaseHeld, LeaseLost
from lakehouse.file_lease import FileLease
from lakehouse.logs import get_logger
from lakehouse.object_store import client_of, store_of
from lakehouse.settings import Settings
from lakehouse.store_lease import StoreLease

log = get_logger(__name__)
POLL_SECONDS = 1.0
ANSWER_SECONDS = 5
"""A store that does not answer is asked again well before the lease ends."""
S3 = ("s3a://", "s3://")
FOLDER = "_leases"
"""In the warehouse."""


class Held(Protocol):
    """A lease that this process holds."""

    @property
    def lost(self) -> str:
        """How it was lost, as far as this process knows without asking; empty while it is held."""

    def require(self) -> None:
        """Ask who keeps it; to be called before each commit. Raises `LeaseLost`."""


class Lease(Held, Protocol):
    """A lease, whoever keeps it."""

    def take(self, when_lost: Callable[[], None]) -> str:
        """Take it; returns who holds it instead, or an empty text when it is ours now."""

    def holder(self) -> str:
        """Who holds it, or an empty text. Never disturbs a holder, nor one who takes it at this moment."""

    def release(self) -> None:
        """Give it back, if it is still ours."""


def of_stream(table: str) -> str:
    """Name of the lease that the driver of the stream into a Bronze table holds."""
    return f"stream-{table}"


def of_silver(table: str) -> str:
    """Name of the lease that whoever writes a captured table in Silver holds."""
    return f"silver-{table}"


@contextmanager
def hold(
    name: str, settings: Settings, wait_seconds: float = 0, when_lost: Callable[[], None] = lambda: None
) -> Iterator[Held]:
    """Hold the lease `name` for the block.

    Another holder is waited for up to `wait_seconds`; then it raises `LeaseHeld`, which names the holder. `when_lost`
    is called from another thread when the lease is lost; a block that ends well after a loss raises `LeaseLost`.
    """
    lease = _lease(name, settings)
    _take(lease, name, wait_seconds, when_lost)
    try:
        yield lease
        lease.require()
    finally:
        lease.release()


def is_held(name: str, settings: Settings) -> bool:
    """Whether some process holds the lease right now."""
    return bool(_lease(name, settings).holder())


def require_all(leases: Iterable[Held]) -> None:
    """Raise `LeaseLost` if one of the leases is known to be lost; asks nobody, so it may be called often."""
    for lease in leases:
        if lease.lost:
            raise LeaseLost(lease.lost)


def _take(lease: Lease, name: str, wait_seconds: float, when_lost: Callable[[], None]) -> None:
    deadline = time.monotonic() + wait_seconds
    is_told = False
    while holder := lease.take(when_lost):
        if time.monotonic() >= deadline:
            raise LeaseHeld(name, holder)
        if not is_told:
            log.info("lease_awaited", lease=name, holder=holder, seconds_at_most=wait_seconds)
            is_told = True
        time.sleep(POLL_SECONDS)


def _lease(name: str, settings: Settings) -> Lease:
    if not settings.warehouse.startswith(S3):
        return FileLease(name, Path(settings.warehouse.removeprefix("file://")) / FOLDER)
    store = store_of(settings)
    bucket, _, folder = settings.warehouse.partition("://")[2].partition("/")
    key = f"{folder}/{FOLDER}/{name}.json".lstrip("/")
    return StoreLease(name, store, client_of(store, ANSWER_SECONDS), bucket, key, settings.lease_seconds)
