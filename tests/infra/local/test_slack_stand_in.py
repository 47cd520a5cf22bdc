"""The stand-in answers as Slack does, and remembers what it took."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from infra.local.slack_stand_in import make_server


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    server = make_server(0, tmp_path, "secret")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def kept(folder: Path) -> list[dict[str, object]]:
    file = folder / "messages.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def test_a_message_is_kept_with_its_arrival_time(address: str, tmp_path: Path) -> None:
    answer = requests.post(f"{address}/services/secret", json={"text": "low: Zoë"}, timeout=5)
    assert (answer.status_code, answer.text) == (200, "ok")
    (message,) = kept(tmp_path)
    assert message["payload"] == {"text": "low: Zoë"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(message["received_at"]))


def test_ordered_failures_answer_500_and_keep_nothing(address: str, tmp_path: Path) -> None:
    requests.post(f"{address}/fail?count=2", timeout=5)
    codes = [requests.post(f"{address}/services/secret", json={"text": "x"}, timeout=5).status_code for _ in range(3)]
    assert codes == [500, 500, 200]
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize(
    ("path", "body", "code", "said"),
    [
        ("/services/guess", b'{"text": "x"}', 404, "no_service"),
        ("/services/secret", b"not json", 400, "invalid_payload"),
        ("/services/secret", b"{}", 400, "no_text"),
    ],
)
def test_what_slack_would_refuse_is_refused(
    address: str, tmp_path: Path, path: str, body: bytes, code: int, said: str
) -> None:
    answer = requests.post(address + path, data=body, timeout=5)
    assert (answer.status_code, answer.text) == (code, said)
    assert kept(tmp_path) == []
