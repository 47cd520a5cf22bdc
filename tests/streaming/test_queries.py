"""The driver of the streams stops for a lost lease also while nothing arrives."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from lakehouse.errors import LeaseLost
from streaming import queries


def test_a_lost_lease_stops_the_driver_between_batches() -> None:
    idle: Any = SimpleNamespace(isActive=True)
    held: Any = {"one": SimpleNamespace(lost=""), "other": SimpleNamespace(lost="the lease other: it was taken")}
    with pytest.raises(LeaseLost, match="the lease other: it was taken"):
        queries._wait([idle], threading.Event(), held)
