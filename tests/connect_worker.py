"""Requests to Kafka Connect about the connector of the source."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from lakehouse.settings import Settings

REBALANCING = Retry(total=20, backoff_factor=0.1, backoff_max=2, status_forcelist=(409, 500, 503), allowed_methods=None)
"""A worker refuses while it divides its tasks anew."""


def connect_is_told(settings: Settings, method: str, path: str, **body: Any) -> Any:
    """Returns the answer's JSON object; None for an answer without one."""
    url = f"{settings.connect_url}/connectors/{settings.source_connector}/{path}"
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=REBALANCING))
        answer = session.request(method, url, timeout=60, **body)
    answer.raise_for_status()
    return answer.json() if answer.text.startswith("{") else None
