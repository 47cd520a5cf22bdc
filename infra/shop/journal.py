"""The append-only journal below the account: one JSON object a line, made to survive `kill -9`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from infra.shop.errors import AccountDamaged

Entry = dict[str, Any]


def read_journal(path: Path) -> Iterator[Entry]:
    """All whole lines, oldest first; a last line without its end was cut by a crash and is left out.

    Raises `AccountDamaged` for any other line that is not a JSON object.
    """
    if not path.exists():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            yield _entry(path, number, line)


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        entry = json.loads(line)
    except ValueError:
        raise AccountDamaged(path, number) from None
    if not isinstance(entry, dict):
        raise AccountDamaged(path, number)
    return entry


class Journal:
    """Appends lines, each handed to the operating system at once: only a crash of the machine loses one."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, entry: Entry) -> None:
        """Append one line."""
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        while line:
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """Close the file; entries are safe without it."""
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cut_torn_line(path: Path) -> None:
    """Take away a half line that a crash left, or the next line would be glued to it."""
    if not path.exists():
        return
    with path.open("rb+") as lines:
        content = lines.read()
        lines.truncate(content.rfind(b"\n") + 1)
