"""An encoder that shares nothing with the registry client, and the instant at which all tests happen."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import fastavro
import pytest

CONTRACT = fastavro.parse_schema(
    json.loads(resources.files("lakehouse.contracts").joinpath("inventory_event.avsc").read_text(encoding="utf-8"))
)


@pytest.fixture(scope="session")
def encode() -> Callable[[dict[str, Any]], bytes]:
    def write(event: dict[str, Any]) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, CONTRACT, event)
        return b"\x00" + struct.pack(">I", 1) + body.getvalue()

    return write


@pytest.fixture(scope="session")
def decode() -> Callable[[bytes], dict[str, Any]]:
    def read(value: bytes) -> dict[str, Any]:
        event = fastavro.schemaless_reader(io.BytesIO(value[5:]), CONTRACT, None)
        assert isinstance(event, dict)
        return event

    return read


@pytest.fixture(scope="session")
def noon() -> datetime:
    return datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
