"""Runs the shop: a past up to a business date, then live trade, each on the real Postgres, Kafka and S3.

The account is exact whatever dies, see `bookkeeping`. A second run in the same home goes on where the first one
ended: the past is only brought up to the new date, keys and sequences count on, and live trade happens again. Live
trade puts its bad records of the change topics next to real ones, so Debezium must be running for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from infra.shop.account import Account
from infra.shop.history import load_history
from infra.shop.live import trade_live
from infra.shop.opening import Progress, Sizes, open_shop, silent
from lakehouse.settings import Settings

PHASES = ("history", "live")


def run_shop(
    settings: Settings,
    *,
    seed: int = 7,
    business_date: date | None = None,
    sizes: Sizes | None = None,
    phases: Sequence[str] = PHASES,
    seconds: float = 0.0,
    orders_csv: Path | None = None,
    progress: Progress = silent,
) -> Account:
    """Run the phases one after the other and return the account.

    `business_date` defaults to today in the business zone; `seconds` stretches live trade, 0 is as fast as it goes.
    Raises what `open_shop` raises, `DeliveryFailed`, `RowsNotFound`, and `InvoiceFileWrong` for the file `orders_csv`.
    """
    with open_shop(
        settings, seed=seed, business_date=business_date, sizes=sizes, orders_csv=orders_csv, progress=progress
    ) as shop:
        if "history" in phases:
            load_history(shop)
        if "live" in phases:
            trade_live(shop, seconds=seconds)
        return shop.account
