"""The front door turns trouble into one sentence and an exit code."""

from __future__ import annotations

import errno
from typing import Any, NoReturn

import click
import pytest

from lakehouse import cli
from lakehouse.errors import StepFailed


def ends_with(monkeypatch: pytest.MonkeyPatch, trouble: BaseException) -> Any:
    def fail(**_: Any) -> NoReturn:
        raise trouble

    monkeypatch.setattr(cli, "front_door", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_our_own_error_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(monkeypatch, StepFailed("The cellar is full. Empty it.")) == 1
    assert capsys.readouterr().err == "lakehouse: The cellar is full. Empty it.\n"


def test_a_full_disk_is_one_sentence_with_the_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/data/x")) == 1
    assert capsys.readouterr().err.startswith("lakehouse: [Errno 28] No space left on device: '/data/x'. Free some")


def test_ctrl_c_has_an_exit_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ends_with(monkeypatch, KeyboardInterrupt()) == 130


def test_a_mistake_of_ours_keeps_its_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> NoReturn:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(cli, "front_door", fail)
    with pytest.raises(OSError, match="Invalid argument"):
        cli.main()


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_is_there(name: str) -> None:
    context = click.Context(cli.front_door)
    command = cli.front_door.get_command(context, name)
    assert command is not None
    assert command.help
