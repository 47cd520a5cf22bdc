"""Whether Kafka answers is found out before a driver is started."""

from __future__ import annotations

import socket

import pytest

from lakehouse import kafka_offsets
from lakehouse.errors import ServiceUnreachable
from lakehouse.settings import Settings


def test_a_broker_that_is_down_is_one_sentence_with_the_cure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_offsets, "TIMEOUT_SECONDS", 0.5)
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody_listens.getsockname()[1]}"
        down = settings.model_copy(update={"kafka_bootstrap_servers": address})
        with pytest.raises(
            ServiceUnreachable, match=rf"Kafka does not answer at {address}\. Start it \(`lakehouse up`"
        ):
            kafka_offsets.require_kafka(down)
