"""A wait that goes on as long as something moves, however long that is, and ends when nothing does."""

from __future__ import annotations

import time


class Standstill:
    """Whether what is looked at again and again has been the same for too long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._state: object = None
        self._since = time.monotonic()

    def lasts(self, state: object) -> bool:
        """Whether nothing but this state was seen for longer than the seconds."""
        now = time.monotonic()
        if state != self._state:
            self._state, self._since = state, now
        return now - self._since > self._seconds
