"""`lakehouse bi`: the published tables for JDBC clients."""

from __future__ import annotations

import click

from lakehouse import stop_signals
from lakehouse.settings import Settings


@click.command()
@click.option("--port", default=10000, show_default=True, type=click.IntRange(1, 65535), help="Port on 127.0.0.1.")
@click.pass_obj
def bi(settings: Settings, port: int) -> None:
    """Serve the published tables to JDBC clients until Ctrl-C.

    Connect with jdbc:hive2://127.0.0.1:PORT/gold (beeline, DBeaver, Tableau, PyHive). There is no password: the server
    listens on this machine only, and whoever can log in here can read what it shows.
    """
    from batch.bi import serve

    with stop_signals.as_event() as stopped:
        serve(settings, port, stopped)
