"""`lakehouse bench`."""

from __future__ import annotations

import click


@click.command()
@click.option("--messages", default=1_000_000, show_default=True, help="Inventory messages.")
@click.option("--megabytes", default=200, show_default=True, help="Size of the clickstream.")
@click.option("--objects", default=8, show_default=True, help="Objects that hold the clickstream.")
@click.option("--rounds", default=3, show_default=True, help="Pairs that count, after one warm-up pair.")
def bench(messages: int, megabytes: int, objects: int, rounds: int) -> None:
    """Measure our streams against plain Spark, interleaved, equal counts checked."""
    from infra.bench import run

    run.run(messages, megabytes, objects, rounds)
