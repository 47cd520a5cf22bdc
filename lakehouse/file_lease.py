"""A lease kept as a file lock: a dead holder never blocks, and only processes of one machine see each other."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path

from lakehouse.errors import LeaseLost

# struct flock: type, whence, start, length, pid. The whole file is locked.
FLOCK = "hhqqi4x"
EXCLUSIVE = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class FileLease:
    """A lock on `<folder>/<name>.lock`.

    A lock of the open file (not of the process, and not `flock`): it is the one kind that can be asked for without
    taking it, so that a look never refuses a driver that starts at the same moment.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._path = folder / f"{name}.lock"
        self._file: TextIOWrapper | None = None
        self.lost = ""

    def take(self, when_lost: Callable[[], None]) -> str:
        """Take it; returns who holds it instead, or an empty text. A file lock is not lost behind our back, so
        `when_lost` is never called.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, EXCLUSIVE)
        except (BlockingIOError, PermissionError):
            file.close()
            return self._told()
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file
        return ""

    def holder(self) -> str:
        """Who holds it, or an empty text."""
        try:
            with self._path.open("r+", encoding="utf-8") as file:
                found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, EXCLUSIVE)
        except FileNotFoundError:
            return ""
        return "" if struct.unpack(FLOCK, found)[0] == fcntl.F_UNLCK else self._told()

    def require(self) -> None:
        """Raise `LeaseLost` when the file was removed: a second driver could lock a new one."""
        if self._file and not self._is_in_place(self._file):
            self.lost = f"the lease {self._name}: somebody removed its file {self._path}"
        if self.lost or not self._file:
            raise LeaseLost(self.lost or f"the lease {self._name}: it was given back")

    def release(self) -> None:
        """Give it back; the file stays, because removing it would give two drivers a lock each."""
        if self._file:
            self._file.close()
            self._file = None

    def _is_in_place(self, file: TextIOWrapper) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def _told(self) -> str:
        try:
            return f"process {self._path.read_text('utf-8').strip() or 'unknown'}"
        except FileNotFoundError:
            return "process unknown"
