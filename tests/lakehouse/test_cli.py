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


def test_a_full_disk_inside_of_spark_is_one_sentence_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spark = RuntimeError(
        "An error occurred while calling o99.save.\n: org.apache.spark.SparkException: Job aborted\n\tat x.y(z)\n"
        "Caused by: java.io.IOException: No space left on device\n\tat java.base/sun.nio.ch.write"
    )
    assert ends_with(monkeypatch, spark) == 1
    told = capsys.readouterr().err
    assert told.startswith("lakehouse: A disk is full (No space left on device): mostly the one of LAKEHOUSE_HOME")
    assert "Free some space" in told
    assert told.count("\n") == 1


def test_trouble_that_a_full_disk_caused_is_told_as_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble = ValueError("The file has no end.")
    trouble.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded", "/data/x")
    assert ends_with(monkeypatch, trouble) == 1
    assert "A disk is full (Disk quota exceeded: '/data/x')" in capsys.readouterr().err


def test_a_fault_that_follows_a_full_disk_is_not_hidden_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> NoReturn:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/cache/x")
        except OSError:
            raise KeyError("sku")  # noqa: B904 - what is tested is an error that was met on the way

    monkeypatch.setattr(cli, "front_door", fail)
    with pytest.raises(KeyError, match="sku"):
        cli.main()


def test_ctrl_c_has_an_exit_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ends_with(monkeypatch, KeyboardInterrupt()) == 130


def test_a_mistake_of_ours_keeps_its_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> NoReturn:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(cli, "front_door", fail)
    with pytest.raises(OSError, match="Invalid argument"):
        cli.main()


def test_a_failure_inside_of_spark_keeps_its_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> NoReturn:
        raise RuntimeError("java.lang.OutOfMemoryError: Java heap space")

    monkeypatch.setattr(cli, "front_door", fail)
    with pytest.raises(RuntimeError, match="Java heap space"):
        cli.main()


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_is_there(name: str) -> None:
    context = click.Context(cli.front_door)
    command = cli.front_door.get_command(context, name)
    assert command is not None
    assert command.help
