"""The processes of one night: found by their session, so that the end of a night ends all of it and nothing else.

The night starts in a session of its own. A child may leave its parent or its process group (PySpark's worker daemon
does), but it stays in the session, and the kernel gives the session's number to nobody else while a member lives.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 10.0
PROC = Path("/proc")


def members(session: int) -> list[int]:
    """Process ids of the living members of a session (zombies aside), lowest first."""
    if not PROC.is_dir():
        # No /proc (macOS): the leader alone can be asked about.
        return [session] if _lives(session) else []
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):
            # The command stands in parentheses and may hold any character, so count from the last one.
            state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(entry.name))
    return sorted(found)


def end(session: int, grace_seconds: float = GRACE_SECONDS) -> int:
    """End all members of a session, gently, then for good; returns how many there were. Waits until they are gone."""
    at_first = members(session)
    for number, limit in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, grace_seconds)):
        deadline = time.monotonic() + limit
        for process in members(session):
            with suppress(ProcessLookupError):
                os.kill(process, number)
        while members(session) and time.monotonic() < deadline:
            time.sleep(0.05)
    return len(at_first)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
