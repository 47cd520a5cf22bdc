"""`lakehouse shop run | account`: trade on the running stack, and what the shop says it produced."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click

from infra.shop.account import read_account
from infra.shop.opening import Sizes, settle_account
from infra.shop.run import PHASES, run_shop
from lakehouse.settings import Settings


@click.group()
def shop() -> None:
    """A seeded shop that trades on the real parts and keeps its own account."""


@shop.command()
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same shop.")
@click.option("--date", "business_date", type=click.DateTime(["%Y-%m-%d"]), help="Business date; default: today there.")
@click.option("--orders", default=Sizes.orders, show_default=True, help="Order rows in the 14 days of history.")
@click.option("--scale", default=Sizes.scale, show_default=True, help="Multiplies orders, clicks and stock movements.")
@click.option("--ticks", default=Sizes.ticks, show_default=True, help="Moments of live trade.")
@click.option("--seconds", default=0.0, show_default=True, help="Stretch live trade over so many seconds.")
@click.option("--phase", "phases", type=click.Choice(PHASES), multiple=True, default=PHASES, show_default=True)
@click.option(
    "--orders-csv",
    type=click.Path(path_type=Path),
    help="Replay this invoice file (UCI Online Retail format) instead of making up orders.",
)
@click.pass_obj
def run(
    settings: Settings,
    seed: int,
    business_date: datetime | None,
    orders: int,
    scale: float,
    ticks: int,
    seconds: float,
    phases: tuple[str, ...],
    orders_csv: Path | None,
) -> None:
    """Bring the past up to the date, then trade live; may be repeated."""
    account = run_shop(
        settings,
        seed=seed,
        business_date=business_date.date() if business_date else None,
        sizes=Sizes(orders=orders, scale=scale, ticks=ticks),
        phases=phases,
        seconds=seconds,
        orders_csv=orders_csv,
        progress=_show,
    )
    click.echo(json.dumps(account.summary(), indent=2))


@shop.command()
@click.option("--settle", is_flag=True, help="First find out what became of everything that a dead shop left open.")
@click.pass_obj
def account(settings: Settings, settle: bool) -> None:
    """Print what the shop produced, as far as it was acknowledged."""
    kept = settle_account(settings) if settle else read_account(settings)
    click.echo(json.dumps(kept.summary(), indent=2))


def _show(line: str) -> None:
    click.echo(f"  {line}", err=True)
