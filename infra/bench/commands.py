"""`lakehouse bench`."""

from __future__ import annotations

import click

PARTS = ("inventory", "small", "freshness", "clicks", "listing", "merge")


@click.command()
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Parts to run; without it, all.")
@click.option("--messages", default=2_000_000, show_default=True, help="Inventory messages of the backlog.")
@click.option("--megabytes", default=500, show_default=True, help="Size of the clickstream.")
@click.option("--objects", default=(8, 2000), multiple=True, show_default=True, help="Objects that hold the clicks.")
@click.option("--rate", default=(200, 1000), multiple=True, show_default=True, help="Events per second for the delay.")
@click.option("--seconds", default=30, show_default=True, help="How long events flow at each rate.")
@click.option("--seen", default=(1000, 100_000), multiple=True, show_default=True, help="Objects seen before a look.")
@click.option("--rows", default=5_000_000, show_default=True, help="Rows of the table that a night merges into.")
@click.option("--rounds", default=3, show_default=True, help="Pairs that count, after one warm-up pair.")
def bench(
    only: tuple[str, ...],
    messages: int,
    megabytes: int,
    objects: tuple[int, ...],
    rate: tuple[int, ...],
    seconds: int,
    seen: tuple[int, ...],
    rows: int,
    rounds: int,
) -> None:
    """Measure our streams against plain Spark, interleaved, equal counts checked."""
    from infra.bench.plan import Plan
    from infra.bench.run import run

    run(Plan(only or PARTS, messages, megabytes, objects, rate, seconds, seen, rows, rounds))
