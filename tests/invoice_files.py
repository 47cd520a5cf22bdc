"""Invoice files that tests read: a small one of our own, always, and the real one where the shared data is."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SHARED_DATA

SCENARIO = Path(__file__).parent / "scenarios" / "invoices_of_every_kind"
OWN = SCENARIO / "input" / "invoices.csv"
"""A line of each kind: sales, one of them twice, credit notes, stock corrections, fees in both cases, free items,
amounts that end on half a cent, no customer, more than 100 pieces, a day of returns and a day of fees alone.
"""
REAL = SHARED_DATA / "online_retail" / "online_retail.csv"
INVOICE_FILES = [
    pytest.param(OWN, id="own"),
    pytest.param(
        REAL,
        id="real",
        marks=pytest.mark.skipif(
            not REAL.is_file(),
            reason=f"the invoice file is not at {REAL}: set LAKEHOUSE_SHARED_DATA to the folder of shared data",
        ),
    ),
]
