"""The lease of a stream: one driver at a time writes its tables. A file lock, so a dead holder never blocks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lakehouse.errors import LeaseHeld
from lakehouse.settings import Settings


def _lock_file(name: str, settings: Settings) -> Path:
    folder = settings.home / "leases"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.lock"


@contextmanager
def hold(name: str, settings: Settings) -> Iterator[None]:
    """Hold the lease `name` for the block. Raises `LeaseHeld` at once when another process holds it."""
    path = _lock_file(name, settings)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LeaseHeld(name, f"process {path.read_text().strip() or 'unknown'}") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def is_held(name: str, settings: Settings) -> bool:
    """Whether some process holds the lease right now."""
    try:
        with hold(name, settings):
            return False
    except LeaseHeld:
        return True
