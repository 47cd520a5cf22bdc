"""What the streams' page shows of the services beside them, asked once a minute: the replication slot, which fills the
source's disk between two nights and not at them, and alerts that nobody has sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from lakehouse import metrics
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from streaming import alert_source, source_slot

log = get_logger(__name__)
SECONDS = 60.0
Look = Callable[[Settings], None]


def slot(settings: Settings) -> None:
    """Ask Postgres about the slot, and show it."""
    state = source_slot.ask(settings)
    metrics.observe_slot(settings.source_slot, state.wal_status, state.retained_bytes)


def alerts(settings: Settings) -> None:
    """Ask Kafka how many alerts the notifier is not done with, and show it."""
    metrics.alerts_waiting(alert_source.waiting(settings))


def watch(settings: Settings, stopping: threading.Event, look: Look) -> None:
    """Look once a minute until told to stop. What goes wrong is a warning: the page is no reason to stop anything."""
    while not stopping.is_set():
        try:
            look(settings)
        except Exception as trouble:
            log.warning(f"{look.__name__}_not_seen", reason=str(trouble))
        stopping.wait(SECONDS)


def start(settings: Settings, stopping: threading.Event, look: Look) -> None:
    """The same in a thread of its own, where there is a page to show it on."""
    if settings.metrics_port:
        name = f"watch-{look.__name__}"
        threading.Thread(target=watch, args=(settings, stopping, look), name=name, daemon=True).start()
