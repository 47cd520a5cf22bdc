"""What `lakehouse up` finds wrong before it starts anything."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from infra.local import stack
from infra.local.errors import StackNotReady
from infra.local.ports import free_ports
from lakehouse.errors import JavaUnfit


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_java_of_another_release_is_named_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    with pytest.raises(JavaUnfit, match=r"Java 11 was found in JAVA_HOME .* 17 or 21"):
        stack.up(tmp_path / "home", "free")
    assert not (tmp_path / "home").exists()


def test_a_full_disk_is_named_with_its_cure_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 42_000_000, 42_000_000))
    with pytest.raises(StackNotReady, match=r"only 42 MB are free there.* LAKEHOUSE_HOME"):
        stack.up(tmp_path / "home", str(free_ports()["s3"]))
    assert stack.status(tmp_path / "home") == []


def test_a_home_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StackNotReady, match="Making the folder"):
        stack.up(tmp_path / "file" / "home", "free")
