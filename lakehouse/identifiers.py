"""Grammar of names that come from outside. What does not match never reaches SQL."""

from __future__ import annotations

import re

from lakehouse.errors import UnsafeIdentifier

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,120}")


def run_id(text: str) -> str:
    """The text itself if it can name a run. Raises `UnsafeIdentifier`."""
    if not RUN_ID.fullmatch(text):
        raise UnsafeIdentifier(text, "letters, digits and _ . : + - (at most 121)")
    return text
