"""Waiting for what another process brings about, and tells nobody."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], seconds: float, pause: float = 0.2) -> None:
    """Return when it holds; it is asked every `pause` seconds. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about within {seconds:.0f} s"
        time.sleep(pause)
