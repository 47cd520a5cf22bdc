"""A webhook on loopback that gives the answers it was told to give, and keeps what it was sent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import SecretStr

SECRET_PATH = "/services/T0/B0/very-secret"


class Hook(ThreadingHTTPServer):
    """Answers are (status, headers, body), one for each call, then 200; status 0 hangs up instead."""

    answers: list[tuple[int, dict[str, str], str]]
    received: list[dict[str, Any]]

    @property
    def address(self) -> SecretStr:
        return SecretStr(f"http://127.0.0.1:{self.server_address[1]}{SECRET_PATH}")


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        status, headers, text = self.server.answers.pop(0) if self.server.answers else (200, {}, "ok")
        if status == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def slack_stand_in() -> Iterator[Hook]:
    """A running webhook, for the block."""
    server = Hook(("127.0.0.1", 0), Handler)
    server.answers, server.received = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
