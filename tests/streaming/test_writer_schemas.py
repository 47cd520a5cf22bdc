"""The registry's client: `no such id` is an answer, everything else is waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lakehouse import metrics
from lakehouse.settings import Settings
from streaming import writer_schemas
from streaming.writer_schemas import Registry, learn_in_advance

SCHEMA = '{"type":"record","name":"R","fields":[]}'
FOUND = (200, json.dumps({"schema": SCHEMA}))
NOT_FOUND = (404, '{"error_code": 40403, "message": "Schema not found"}')
FROM_A_PROXY = (404, "<html>Not Found</html>")
BUSY = (503, "{}")
SILENT = (0, "")


class FakeRegistry:
    """Gives the answers that it was told, in order; the last one for ever."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.asked: list[str] = []
        left, closing, fake = list(answers), threading.Event(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(self.path)
                code, body = left.pop(0) if len(left) > 1 else left[0]
                if not code:
                    closing.wait(30)
                    return
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                return

        self._closing = closing
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(writer_schemas, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(writer_schemas, "CLIENT", writer_schemas.CLIENT | {"timeout": 1.0})
    yield
    metrics.registry_unavailable(0)


def registry_of(fake: FakeRegistry, stopping: threading.Event | None = None) -> Registry:
    settings = Settings(schema_registry_url=fake.url, _env_file=None)  # type: ignore[call-arg]
    return Registry(settings, stopping or threading.Event())


def unavailable() -> float:
    return metrics.STREAMS.get_sample_value("schema_registry_unavailable_seconds") or 0.0


def test_an_id_that_the_registry_does_not_know_is_an_answer() -> None:
    fake = FakeRegistry(NOT_FOUND)
    assert registry_of(fake).schema(7) is None
    fake.close()


def test_slow_busy_and_misplaced_answers_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(metrics, "registry_unavailable", waited.append)
    fake = FakeRegistry(SILENT, BUSY, FROM_A_PROXY, FOUND)
    assert registry_of(fake).schema(7) == SCHEMA
    assert len(waited) == 4
    assert waited[0] >= 1.0
    assert waited[:3] == sorted(waited[:3])
    assert waited[3] == 0
    fake.close()


def test_a_stream_that_stops_does_not_go_on_waiting() -> None:
    fake, stopping = FakeRegistry(BUSY), threading.Event()
    stopping.set()
    with pytest.raises(InterruptedError):
        registry_of(fake, stopping).schema(7)
    assert unavailable() > 0
    fake.close()


def test_what_is_learned_in_advance_is_asked_once_and_not_waited_for() -> None:
    fake = FakeRegistry(BUSY)
    assert learn_in_advance(["topic"], registry_of(fake)).values == {}
    assert [path.partition("?")[0] for path in fake.asked] == [
        "/subjects/topic-value/versions",
        "/subjects/topic-key/versions",
    ]
    fake.close()
