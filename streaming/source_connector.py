"""What Kafka Connect says about the connector of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from lakehouse.errors import ServiceUnreachable
from lakehouse.settings import Settings

TIMEOUT_SECONDS = 15.0
INCARNATION = "transforms.incarnation.value.literal"
"""The setting of infra/debezium/connector.json that each change carries in its header."""
RUNNING = "RUNNING"


@dataclass(frozen=True)
class Connector:
    """State of the connector and of its tasks, in Connect's words; no state where it was never registered."""

    states: tuple[str, ...]
    trouble: str
    """First line of what a failed one said."""
    incarnation: str
    """The incarnation of the source that it writes into each change."""

    @property
    def is_running(self) -> bool:
        """Whether it and its task run."""
        return len(self.states) > 1 and set(self.states) == {RUNNING}


def ask(settings: Settings) -> Connector:
    """The state of now. Raises `ServiceUnreachable`."""
    status, config = _get(settings, "status"), _get(settings, "config")
    parts: list[dict[str, str]] = [status["connector"], *status["tasks"]] if status else []
    said = [one["trace"].splitlines()[0] for one in parts if one.get("trace")]
    return Connector(tuple(one["state"] for one in parts), said[0] if said else "", config.get(INCARNATION, ""))


def _get(settings: Settings, part: str) -> dict[str, Any]:
    url = f"{settings.connect_url}/connectors/{settings.source_connector}/{part}"
    try:
        answer = requests.get(url, timeout=TIMEOUT_SECONDS)
        if answer.status_code == 404:
            return {}
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found
    except requests.RequestException as error:
        cure = f"Check LAKEHOUSE_CONNECT_URL and the worker's log ({type(error).__name__})."
        raise ServiceUnreachable("Kafka Connect", settings.connect_url, cure) from None
