"""What SIGTERM and Ctrl-C do while a command runs; what they did before comes back at its end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lakehouse.logs import get_logger

log = get_logger(__name__)

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def as_event() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, for work that ends after what it has begun. Only in the main thread."""
    stopping = threading.Event()

    def stop(number: int, _: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stopping.set()

    with _handled(stop, signal.SIGTERM, signal.SIGINT):
        yield stopping


@contextmanager
def as_interrupt(*numbers: signal.Signals) -> Iterator[None]:
    """These signals (SIGTERM if none is named) are undone like Ctrl-C: `KeyboardInterrupt`. Only in the main thread."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, *(numbers or (signal.SIGTERM,))):
        yield


@contextmanager
def _handled(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)
