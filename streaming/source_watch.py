"""The replication slot on the streams' page: it fills the source's disk between two nights, not at them."""

from __future__ import annotations

import threading

from lakehouse import metrics
from lakehouse.errors import LakehouseError
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from streaming import source_slot

log = get_logger(__name__)
SECONDS = 60.0


def watch(settings: Settings, stopping: threading.Event) -> None:
    """Ask Postgres about the slot once a minute until told to stop. One that does not answer is a warning."""
    while not stopping.is_set():
        try:
            state = source_slot.ask(settings)
        except LakehouseError as error:
            log.warning("slot_not_seen", reason=str(error))
        else:
            metrics.observe_slot(settings.source_slot, state.wal_status, state.retained_bytes)
        stopping.wait(SECONDS)


def start(settings: Settings, stopping: threading.Event) -> None:
    """The same in a thread of its own, where there is a page to show it on."""
    if settings.metrics_port:
        threading.Thread(target=watch, args=(settings, stopping), name="source-watch", daemon=True).start()
