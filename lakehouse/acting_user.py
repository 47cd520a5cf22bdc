"""Who gives a command, for the record."""

from __future__ import annotations

import getpass


def acting_user() -> str:
    """The user's name, or `unknown`: a container's user may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
