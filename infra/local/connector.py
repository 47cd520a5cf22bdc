"""The configuration of the source connector: infra/debezium/connector.json for one worker and one source.

The file names the worker's variables, because what a connector is given is kept in a topic. A setting whose variable
the worker does not have is left out: an empty file name would be taken for a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from infra.local.errors import NoIncarnation, UnknownVariables

FILE = Path(__file__).resolve().parents[1] / "debezium" / "connector.json"
VARIABLE = re.compile(r"\$\{env:(\w+)\}")
INCARNATION = re.compile(r"[0-9]+/[0-9]+")
ALWAYS = (
    "SOURCE_HOST",
    "SOURCE_PORT",
    "SOURCE_DATABASE",
    "SOURCE_PASSWORD",
    "SOURCE_SSLMODE",
    "REGISTRY_URL",
)
"""The variables that every worker has."""


def optional_variables() -> list[str]:
    """The variables of the file that a worker has only for TLS and credentials, in order of their names."""
    return sorted(set(VARIABLE.findall(FILE.read_text("utf-8"))).difference(ALWAYS))


def configuration(incarnation: str, optional: Collection[str] = ()) -> dict[str, str]:
    """What is put to `/connectors/<name>/config`.

    Each change will carry `incarnation`, `<system identifier>/<timeline>`. `optional` are the names of the variables
    that the worker has besides `ALWAYS`. Raises `UnknownVariables` for one that the file does not name, and
    `NoIncarnation` for a name of another form.
    """
    if not INCARNATION.fullmatch(incarnation.strip()):
        raise NoIncarnation(incarnation)
    known = optional_variables()
    given = {*ALWAYS, *optional}
    if unknown := sorted(given.difference(ALWAYS, known)):
        raise UnknownVariables(unknown, known)
    text = FILE.read_text("utf-8").replace("@source_incarnation@", incarnation.strip())
    wanted: dict[str, str] = json.loads(text)
    return {name: value for name, value in wanted.items() if given.issuperset(VARIABLE.findall(value))}
