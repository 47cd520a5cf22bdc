"""The test build: with this folder on the path, the named points of lakehouse/kill_points.py end the process, hard.

`LAKEHOUSE_TEST_KILL_AT=<point>:<n>` kills the process group (driver and JVM) when the point is reached the n-th time;
`while_writing_files` kills as soon as a batch has a data file that no commit names yet.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

WANTED, _, TURN = os.environ.get("LAKEHOUSE_TEST_KILL_AT", "").partition(":")
_times = 0


def reach(point: str) -> None:
    global _times
    if WANTED == "while_writing_files" and point == "before_any_write":
        threading.Thread(target=_kill_at_new_file, args=(_data_files(),), daemon=True).start()
    if point == WANTED:
        _times += 1
        if _times == int(TURN or 1):
            _kill()


def _kill() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _data_files() -> set[str]:
    bronze = Path(os.environ["LAKEHOUSE_HOME"]) / "warehouse" / "bronze"
    return {path.name for path in bronze.glob("*/*.parquet")}


def _kill_at_new_file(before: set[str]) -> None:
    while _data_files() <= before:
        pass
    _kill()
