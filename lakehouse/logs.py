"""Log lines that are an event and fields: `log.info("batch_committed", table=..., rows=...)`, printed as one JSON
object.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any


class EventLog:
    """A named logger whose calls take an event's name and its fields. Never pass a secret as a field."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, event: str, **fields: Any) -> None:
        """Something that is expected happened."""
        self._logger.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: Any) -> None:
        """Something that a person should look at; the work goes on."""
        self._logger.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: Any) -> None:
        """Something stopped."""
        self._logger.error(event, extra={"fields": fields})


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "log": record.name, "event": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "fields", {}), default=str, ensure_ascii=False)


def get_logger(name: str) -> EventLog:
    """The event log of a module; pass `__name__`."""
    return EventLog(name)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send our own lines to standard error as JSON; libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # They print the stack of every exception that crosses the JVM; the exception itself arrives, and is told once.
    for echo in ("py4j", "DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        logging.getLogger(echo).setLevel(logging.CRITICAL)
    for room in ("lakehouse", "streaming", "batch", "quality", "infra", "orchestration"):
        logging.getLogger(room).setLevel(level)
