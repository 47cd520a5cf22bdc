"""`lakehouse demo`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click


@click.command()
@click.option(
    "--orders", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An invoice file (UCI format)."
)
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="Business date; default: today.")
@click.option("--seed", default=7, show_default=True, help="Another seed is another shop.")
def demo(orders: Path | None, day: datetime | None, seed: int) -> None:
    """Run the whole way on real parts and compare every count; exit code 0 only if all of them are equal."""
    from infra.demo import run

    run.run(orders, day.date() if day else None, seed)
