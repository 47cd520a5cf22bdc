"""Spark's settings for the night as a properties file, because DAG code must not ask Spark for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lakehouse.settings import Settings

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def properties_file(settings: Settings) -> Path:
    """Where the file is; `lakehouse night run` and `lakehouse night configure` write it."""
    return settings.home / "spark" / "night.conf"


def write_properties(path: Path, conf: Mapping[str, str]) -> None:
    """Write `conf` as a Java properties file, in one step, so that a step that starts now reads the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name}={_escaped(value)}\n" for name, value in sorted(conf.items())]
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text("".join(lines), "utf-8")
    beside.replace(path)


def _escaped(value: str) -> str:
    text = value.translate(ESCAPES)
    # A leading blank would be taken for part of the separator.
    return f"\\{text}" if text.startswith(" ") else text
