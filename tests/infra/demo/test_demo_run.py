"""What a demo gives its stack, and what it stops when it is interrupted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.demo import run as demo
from infra.local import stack
from infra.local.plan import Plan, make_plan, wanted_ports
from infra.local.processes import Launch, start

NAMES = [service.name for service in stack.SERVICES]
STAYS = Launch([sys.executable, "-c", "import time; time.sleep(600)"], Path("/"), {})


class Interrupted(Exception):
    """Ends a demo before its first service."""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    """The stack of an empty home, to which the demo is pointed; nothing of it runs."""
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    plan = make_plan(tmp_path, wanted_ports("free"))
    plan.write()
    yield plan
    stack.erase(tmp_path)


def begin(plan: Plan, *names: str) -> None:
    """Start a process in the place of each of these services."""
    for name in names:
        start(STAYS, plan.log(name), stack.pid_file(plan, name))


def running(plan: Plan) -> list[str]:
    return [service.name for service in stack.status(plan.home) if service.pid]


@pytest.mark.parametrize("before", [[], ["kafka"], ["postgres", "slack"], NAMES], ids=["none", "one", "two", "all"])
def test_an_interrupted_demo_stops_the_services_that_it_started_and_no_other(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, before: list[str]
) -> None:
    begin(plan, *before)

    def is_interrupted(*_: Any) -> None:
        begin(plan, *(name for name in NAMES if name not in before))
        assert running(plan) == NAMES
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_run", is_interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.run(None, None, 7)
    assert running(plan) == before


@pytest.mark.parametrize(
    ("orders", "port_base", "expected"),
    [
        (None, None, ("up",)),
        (Path("orders.csv"), None, ("up", "--ports", demo.INVOICE_PORTS)),
        (Path("orders.csv"), "31000", ("up",)),
    ],
    ids=["the shop", "an invoice file", "an invoice file and ports of one's own"],
)
def test_an_invoice_file_has_ports_of_its_own_unless_the_user_names_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    orders: Path | None,
    port_base: str | None,
    expected: tuple[str, ...],
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LAKEHOUSE_PORT_BASE", raising=False)
    if port_base:
        monkeypatch.setenv("LAKEHOUSE_PORT_BASE", port_base)
    called = []

    def call(_: Path, *arguments: str) -> None:
        called.append(arguments)
        raise Interrupted

    monkeypatch.setattr(demo.processes, "call", call)
    with pytest.raises(Interrupted):
        demo.run(orders, None, 7)
    assert called == [expected]
