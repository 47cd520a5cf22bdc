"""Requests about rejected rows: written by a command, executed by the one that owns the stream, answered in a file.

A request is a small file under `<home>/quarantine-requests/<stream>/`. It stays until its answer is there, so a driver
that dies in the middle leaves it to the next owner, who gives the same answer (`streaming.replay.execute`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from streaming.quarantine_selection import Selection

log = get_logger(__name__)
Kind = Literal["replay", "discard"]
REQUEST, ANSWER = ".request.json", ".answer.json"


@dataclass(frozen=True)
class Request:
    """What to do with the open rows of one stream that `selection` means."""

    request_id: str
    stream: str
    kind: Kind
    selection: Selection
    requested_by: str
    why: str = ""
    is_dry_run: bool = False

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Request:
        """The request that `asdict` gave. Of another version's, raises `KeyError`, `TypeError` or `AttributeError`."""
        chosen = Selection(**{name: tuple(each) for name, each in values["selection"].items()})
        return Request(**values | {"selection": chosen})


@dataclass(frozen=True)
class Answer:
    """What became of the rows: how many by outcome, and of the first of them each."""

    counts: dict[str, int] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """`quarantine_id`, `outcome`, `reasons` (of rows that are still bad)."""
    left: int = 0
    """Open rows that are meant as well and were too many for one request."""
    trouble: str = ""
    """Why nothing was done; empty when all went well."""


def new_id() -> str:
    """An id that sorts by time."""
    return f"{time.time_ns():020d}-{uuid4().hex[:8]}"


def _folder(settings: Settings, stream: str) -> Path:
    return settings.home / "quarantine-requests" / stream


def submit(settings: Settings, request: Request) -> None:
    """Write the request down; it is there whole or not at all."""
    _write(_folder(settings, request.stream) / f"{request.request_id}{REQUEST}", asdict(request))


def withdraw(settings: Settings, request: Request) -> None:
    """Take back a request that nobody has answered; one that is being executed is executed to its end."""
    (_folder(settings, request.stream) / f"{request.request_id}{REQUEST}").unlink(missing_ok=True)


def pending(settings: Settings, stream: str) -> Iterator[Request]:
    """Requests of a stream that wait for an answer, oldest first, without those that this version can't read."""
    return (found for _, found in _waiting(settings, stream) if isinstance(found, Request))


def refuse_unreadable(settings: Settings, stream: str) -> None:
    """Answer the requests of a stream that this version can't read: they must hold up no other."""
    for request_id, found in _waiting(settings, stream):
        if isinstance(found, Exception):
            reason = f"{type(found).__name__}: {found}"
            log.error("request_not_read", stream=stream, request=request_id, reason=reason)
            trouble = f"The owner's version can't read the request ({reason}). Ask with the owner's version."
            _answer(_folder(settings, stream), request_id, Answer(trouble=trouble))


def _waiting(settings: Settings, stream: str) -> Iterator[tuple[str, Request | Exception]]:
    """Id and request, or why it can't be read."""
    for path in sorted(_folder(settings, stream).glob(f"*{REQUEST}")):
        request_id = path.name.removesuffix(REQUEST)
        try:
            request = Request.from_dict(json.loads(path.read_text("utf-8")))
            if (request.stream, request.request_id) != (stream, request_id):
                raise ValueError(f"it is {request.request_id} of {request.stream}")
            yield request_id, request
        except FileNotFoundError:
            continue  # withdrawn meanwhile
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as trouble:
            yield request_id, trouble


def give_answer(settings: Settings, request: Request, answer: Answer) -> None:
    """Write the answer down, then take the request away."""
    _answer(_folder(settings, request.stream), request.request_id, answer)


def _answer(folder: Path, request_id: str, answer: Answer) -> None:
    _write(folder / f"{request_id}{ANSWER}", asdict(answer))
    (folder / f"{request_id}{REQUEST}").unlink(missing_ok=True)


def take_answer(settings: Settings, request: Request) -> Answer | None:
    """The answer, once; None while there is none."""
    path = _folder(settings, request.stream) / f"{request.request_id}{ANSWER}"
    if not path.exists():
        return None
    found = Answer(**json.loads(path.read_text("utf-8")))
    path.unlink()
    return found


def _write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(values, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
