"""A night that needs a schema and gets no answer says so in a sentence."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from confluent_kafka.schema_registry.error import SchemaRegistryError

from lakehouse import registry_answers
from lakehouse.errors import ServiceUnreachable
from lakehouse.settings import Settings

RECORD = b"\x00\x00\x00\x00\x07\x02"


def test_a_registry_that_is_down_is_named_with_its_runbook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_answers, "LIMITS", {"timeout": 1, "max.retries": 0})
    with socket.socket() as taken:
        # Bound, and nobody listens: a connection is refused.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        decode = registry_answers.value_decoder(Settings(schema_registry_url=url, _env_file=None))  # type: ignore[call-arg]
        with pytest.raises(ServiceUnreachable, match=rf"schema registry does not answer at {url}.*registry-down"):
            decode(RECORD)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (SchemaRegistryError(404, 40403, "Schema not found"), ""),
        (SchemaRegistryError(503, 50301, "busy"), "HTTP 503"),
        (ConnectionRefusedError(), "ConnectionRefusedError"),
        (ValueError("no Avro"), ""),
    ],
    ids=str,
)
def test_no_such_schema_is_an_answer_and_an_error_of_the_record_is_none_of_the_registry(error: Any, why: str) -> None:
    assert registry_answers.silence(error) == why
