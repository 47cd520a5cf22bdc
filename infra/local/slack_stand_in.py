"""A stand-in for Slack's incoming webhooks: keeps each message with its arrival time and answers `ok`.

`python -m infra.local.slack_stand_in PORT FOLDER [HOST]`, with the secret part of the webhook's address in SLACK_PATH.
`POST /fail?count=N` makes it answer 500 to the next N messages (and keep none of them), for tests and drills.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

LOOPBACK = "127.0.0.1"


class Inbox:
    """The messages received so far, one JSON object per line: `received_at` (UTC, milliseconds) and `payload`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "messages.jsonl"
        self._lock = threading.Lock()
        self._refusals = 0

    def refuse_next(self, count: int) -> None:
        """Answer 500 to the next `count` messages."""
        with self._lock:
            self._refusals = count

    def take(self, payload: object) -> bool:
        """Keep one message, on disk before it is answered; False when it has to be refused."""
        arrived = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._lock:
            if self._refusals > 0:
                self._refusals -= 1
                return False
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"received_at": arrived, "payload": payload}, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return True


def make_server(port: int, folder: Path, secret: str, host: str = LOOPBACK) -> ThreadingHTTPServer:
    """A server on `host` whose webhook is `/services/<secret>`; `port` 0 picks a free one."""
    inbox = Inbox(folder)

    class Webhook(BaseHTTPRequestHandler):
        """Answers as Slack does, as far as a sender can tell."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Health."""
            self._answer(200 if self.path == "/health" else 404, "ok" if self.path == "/health" else "no_service")

        def do_POST(self) -> None:
            """One message, or the order to refuse the next ones."""
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            address = urlsplit(self.path)
            if address.path == "/fail":
                inbox.refuse_next(int(parse_qs(address.query).get("count", ["1"])[0]))
                self._answer(200, "ok")
            elif address.path != f"/services/{secret}":
                self._answer(404, "no_service")
            else:
                self._message(body)

        def _message(self, body: bytes) -> None:
            try:
                payload = json.loads(body)
            except ValueError:
                payload = None
            if not isinstance(payload, dict):
                self._answer(400, "invalid_payload")
            elif not ({"text", "blocks", "attachments"} & payload.keys()):
                self._answer(400, "no_text")
            elif inbox.take(payload):
                self._answer(200, "ok")
            else:
                self._answer(500, "server_error")

        def _answer(self, code: int, text: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: the request line holds the secret."""

    ThreadingHTTPServer.daemon_threads = True
    return ThreadingHTTPServer((host, port), Webhook)


def main() -> None:
    """Serve until told to stop."""
    port, folder, *host = sys.argv[1:]
    make_server(int(port), Path(folder), os.environ["SLACK_PATH"], *host).serve_forever()


if __name__ == "__main__":
    main()
