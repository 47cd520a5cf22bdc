"""`lakehouse status` and `lakehouse logs`: what they say, and with which exit code they end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from infra.local import commands, stack
from infra.local.errors import NoSuchService
from infra.local.plan import make_plan, wanted_ports
from lakehouse.settings import Settings

NAMES = [service.name for service in stack.SERVICES]


@pytest.fixture
def stopped(settings: Settings) -> Iterator[Settings]:
    """A home whose stack was started once and does not run."""
    make_plan(settings.home, wanted_ports("free")).write()
    yield settings
    stack.erase(settings.home)


def test_the_status_of_a_home_without_a_stack_names_the_cure_and_is_a_failure(settings: Settings) -> None:
    result = CliRunner().invoke(commands.status, [], obj=settings)
    assert result.exit_code == 1
    assert result.output == f"No stack was started in {settings.home} yet: `lakehouse up` starts one.\n"


def test_the_status_of_a_stopped_stack_has_a_line_for_each_service_and_is_a_failure(stopped: Settings) -> None:
    result = CliRunner().invoke(commands.status, [], obj=stopped)
    assert result.exit_code == 1
    states = {line.split()[0]: line.split()[-1] for line in result.output.splitlines()[1:-1]}
    assert states == dict.fromkeys(NAMES, "stopped")


def test_the_log_of_an_unknown_service_names_the_services(settings: Settings) -> None:
    result = CliRunner().invoke(commands.logs, ["cellar"], obj=settings)
    assert isinstance(result.exception, NoSuchService)
    assert str(result.exception) == f"There is no service 'cellar'; the stack has {', '.join(NAMES)}."


def test_the_end_of_a_services_log_is_shown(settings: Settings) -> None:
    log = settings.home / "logs" / "kafka.log"
    log.parent.mkdir()
    log.write_text("one\ntwo\nthree\n")
    result = CliRunner().invoke(commands.logs, ["kafka", "--lines", "2"], obj=settings)
    assert (result.exit_code, result.output) == (0, "two\nthree\n")
