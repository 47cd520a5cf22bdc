"""The demo: stack up, streams and notifier started, a shop trades, a night runs, and everything is compared."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import click

from infra.demo import alerts, checks, processes
from infra.demo.ending import delivered_lines, print_ending
from infra.demo.progress import has_caught_up
from infra.local import stack
from infra.shop.account import Account
from infra.shop.invoices import read_invoices
from infra.shop.run import run_shop
from lakehouse import stop_signals
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings, load_settings

STREAMS_SECONDS = 240.0
MESSAGES_SECONDS = 90.0
LIVE_SECONDS = 12.0
INVOICE_PORTS = "29600"


class DemoFailed(LakehouseError):
    """Something that the demo compared is not equal."""

    def __init__(self, failed: int) -> None:
        super().__init__(
            f"{failed} of the comparisons above do not hold. The logs are in <home>/logs; nothing was removed."
        )


class Clock:
    """Prints progress with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        """One line of progress."""
        click.echo(f"{click.style(f'[{time.monotonic() - self._start:5.0f} s]', dim=True)} {text}")

    def head(self, text: str) -> None:
        """The beginning of a part."""
        click.echo()
        self.say(click.style(text, bold=True))


def run(orders_csv: Path | None, business_date: date | None, seed: int) -> None:
    """Run the whole way once. Raises `DemoFailed` when a comparison does not hold.

    Ctrl-C, SIGTERM and a closed terminal stop everything that it started; a service that ran before stays up.
    """
    home = _home_of(orders_csv).home
    ran_before = {service.name for service in stack.status(home) if service.pid}
    clock = Clock()
    try:
        with stop_signals.as_interrupt(signal.SIGTERM, signal.SIGHUP):
            _run(home, clock, orders_csv, business_date, seed)
    except KeyboardInterrupt:
        clock.say("interrupted: what this demo started of the stack is stopped too")
        stack.down(home, click.echo, keep=ran_before)
        raise


def _run(home: Path, clock: Clock, orders_csv: Path | None, business_date: date | None, seed: int) -> None:
    clock.head("1. The embedded stack")
    processes.call(home, "up", *_ports(orders_csv))
    # `up` has written addresses and credentials.
    settings = load_settings(home=home, **({"quality_limits": "online_retail"} if orders_csv else {}))
    with ExitStack() as started:
        clock.head("2. The streams and the notifier start; the shop writes its past")
        # Clicks and changes twice as seldom as usual: nobody waits for them before the night, and on two cores their
        # batches would hold up the alerts.
        streams = processes.start(
            settings, "streams", "stream", "all", "--short-lived", LAKEHOUSE_RELAXED_TRIGGER_SECONDS="20"
        )
        started.callback(streams.stop)
        notifier = processes.start(settings, "notifier", "notify")
        started.callback(notifier.stop)
        _shop(settings, clock, "history", orders_csv, business_date, seed)
        # Live trade begins when the past is in Bronze, so that no backlog is in the time from event to message.
        streams.wait_for(lambda: has_caught_up(settings), STREAMS_SECONDS)
        clock.say("the streams run and have caught up with the past")
        clock.head("3. The shop trades: orders change, visitors click, stock moves, some records are bad")
        account = _shop(settings, clock, "live", orders_csv, business_date, seed)
        clock.head("4. Low stock")
        _wait_for_messages(settings, clock, account, streams, notifier)
        night = _date_of_night(account, orders_csv, business_date)
        clock.head(f"5. The night of {night}")
        arguments = ("--date", night.isoformat(), "--retry-seconds", "5")
        processes.call(home, "night", "run", *arguments, limits=settings.quality_limits)
        clock.head("6. What is true now")
        _compare(settings, account, orders_csv, clock.say)
    print_ending(settings, night)


def _ports(orders_csv: Path | None) -> tuple[str, ...]:
    """The option with which an invoice file's stack gets ports of its own, unless the environment names some."""
    has_choice = bool(os.environ.get("LAKEHOUSE_PORT_BASE"))
    return ("--ports", INVOICE_PORTS) if orders_csv and not has_choice else ()


def _date_of_night(account: Account, orders_csv: Path | None, business_date: date | None) -> date:
    """The day that the shop closed; for an invoice file its last day, else every customer would be long lost."""
    if orders_csv and business_date is None:
        return max(line.order_date for line in read_invoices(orders_csv))
    return date.fromisoformat(account.business_date)


def _home_of(orders_csv: Path | None) -> Settings:
    """A shop's books hold one kind of orders, so an invoice file gets a home and ports of its own."""
    settings = load_settings()
    return load_settings(home=settings.home.with_name(f"{settings.home.name}-invoices")) if orders_csv else settings


def _shop(
    settings: Settings, clock: Clock, phase: str, orders_csv: Path | None, business_date: date | None, seed: int
) -> Account:
    return run_shop(
        settings,
        seed=seed,
        business_date=business_date,
        phases=(phase,),
        orders_csv=orders_csv,
        seconds=LIVE_SECONDS,
        progress=clock.say,
    )


def _wait_for_messages(
    settings: Settings, clock: Clock, account: Account, streams: processes.Child, notifier: processes.Child
) -> None:
    """Every alert that the shop expects was raised, and every alert that was raised has been delivered."""
    streams.wait_for(lambda: not alerts.missing_alerts(settings, account), MESSAGES_SECONDS)
    notifier.wait_for(lambda: not alerts.untold_alerts(settings), MESSAGES_SECONDS)
    for line in delivered_lines(settings):
        clock.say(line)


def _compare(settings: Settings, account: Account, orders_csv: Path | None, say: Callable[[str], None]) -> None:
    failed = 0
    for check in checks.all_checks(settings, account, orders_csv):
        mark = click.style("equal", fg="green") if check.holds else click.style("NOT EQUAL", fg="red", bold=True)
        say(f"{mark}  {check.name}: {check.summary}")
        failed += not check.holds
    if failed:
        raise DemoFailed(failed)
