"""What this machine lacks is one sentence with its cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.setup import check_machine
from infra.setup.check_machine import (
    JARS_GB,
    NEEDED_GB,
    RUNNING_GB,
    disk_problem,
    folders_needed,
    java_command,
    java_problem,
    java_release,
    python_problem,
)


@pytest.mark.parametrize(("version", "word"), [((3, 10, 4), "old"), ((2, 7, 18), "old"), ((3, 14, 0), "new")])
def test_a_python_of_another_age_is_refused(version: tuple[int, ...], word: str) -> None:
    problem = python_problem(version)
    assert problem is not None
    assert f"too {word}" in problem
    assert "PYTHON=" in problem


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 9), (3, 13, 1)])
def test_a_supported_python_is_no_trouble(version: tuple[int, ...]) -> None:
    assert python_problem(version) is None


@pytest.mark.parametrize("release", [17, 21])
def test_a_supported_java_is_no_trouble(release: int) -> None:
    assert java_problem("java", release) is None


@pytest.mark.parametrize(("release", "said"), [(None, "No working Java"), (11, "Java 11"), (25, "Java 25")])
def test_a_missing_or_wrong_java_is_named_with_its_place(
    release: int | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", "/somewhere")
    problem = java_problem(java_command(), release)
    assert problem is not None
    assert said in problem
    assert "JAVA_HOME (/somewhere)" in problem
    assert "17 or 21" in problem


@pytest.mark.parametrize(
    ("line", "release"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_292"', 8), ('openjdk version "21" x', 21)],
)
def test_the_release_is_read_from_what_java_says(tmp_path: Path, line: str, release: int) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho '{line}' >&2\n")
    java.chmod(0o755)
    assert java_release(str(java)) == release


def test_a_java_that_does_not_run_has_no_release(tmp_path: Path) -> None:
    assert java_release(str(tmp_path / "nothing")) is None


def test_too_small_a_disk_says_what_is_free_and_what_is_needed(tmp_path: Path) -> None:
    problem = disk_problem(str(tmp_path / "not" / "there" / "yet"), 1e9)
    assert problem is not None
    assert "1000000000.0 GB are needed there" in problem
    assert "LAKEHOUSE_CACHE" in problem
    assert disk_problem(str(tmp_path), 0.0) is None


def disks(monkeypatch: pytest.MonkeyPatch, **of_folder: int) -> None:
    """Let folders be on disks of their own; all others are on disk 0."""
    monkeypatch.setattr(check_machine, "_disk", lambda folder: of_folder.get(folder.strip("/"), 0))


def test_the_folders_of_cache_and_state_are_looked_at_where_they_have_disks_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = {"LAKEHOUSE_CACHE": "/cache", "LAKEHOUSE_HOME": "/home"}
    disks(monkeypatch, cache=1, home=2)
    assert folders_needed("/project", elsewhere) == [
        ("/project", NEEDED_GB),
        ("/cache", JARS_GB),
        ("/home", RUNNING_GB),
    ]
    assert folders_needed("/project", {}) == [("/project", NEEDED_GB)]


def test_a_cache_that_holds_the_jars_needs_no_room_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jars").mkdir()
    monkeypatch.setattr(check_machine, "_disk", hash)
    found = dict(folders_needed("/project", {"LAKEHOUSE_CACHE": str(tmp_path)}))
    assert found == {"/project": NEEDED_GB, str(tmp_path): 0.0}


def test_a_disk_that_they_share_is_named_once_with_the_most_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    disks(monkeypatch, cache=1, home=1)
    found = folders_needed("/project", {"LAKEHOUSE_CACHE": "/cache", "LAKEHOUSE_HOME": "/home"})
    assert found == [("/project", NEEDED_GB), ("/cache", JARS_GB)]


def test_a_machine_without_room_for_its_state_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(tmp_path / "state")
    monkeypatch.setenv("LAKEHOUSE_HOME", home)
    monkeypatch.setattr(check_machine, "folders_needed", lambda _, environment: [(environment["LAKEHOUSE_HOME"], 1e9)])
    assert check_machine.main() == 1
    assert f"are free at {tmp_path}" in capsys.readouterr().err
