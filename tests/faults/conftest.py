"""No command that a test started outlives its module, also where the test failed while it waited for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from inventory_topic import STARTED


@pytest.fixture(autouse=True, scope="module")
def nothing_goes_on() -> Iterator[None]:
    yield
    for process in STARTED:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    STARTED.clear()
