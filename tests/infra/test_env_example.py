"""infra/env/local.env.example lists the settings: all of them, nothing else, with the defaults that hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from lakehouse.settings import PREFIX, PROJECT_ROOT, Settings

FILE = PROJECT_ROOT / "infra" / "env" / "local.env.example"
LINES = FILE.read_text("utf-8").splitlines()
LISTED = dict(match.groups() for line in LINES if (match := re.fullmatch(r"# ([A-Z0-9_]+)=(.*)", line)))


def default(name: str) -> str:
    """A setting's default as it stands in an env file; of the home, which depends on the machine, nothing."""
    value = Settings.model_fields[name].default
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if isinstance(value, Path) else str(value)


def test_every_setting_is_listed_once_and_nothing_else() -> None:
    listed = [name.removeprefix(PREFIX).lower() for name in LISTED]
    assert sorted(listed) == sorted(Settings.model_fields)
    assert len(LISTED) == sum(line.startswith(f"# {PREFIX}") for line in LINES)


def test_each_value_is_the_default() -> None:
    assert {name: default(name.removeprefix(PREFIX).lower()) for name in LISTED} == LISTED


def test_no_secret_has_a_value() -> None:
    secrets = [name for name, field in Settings.model_fields.items() if isinstance(field.default, SecretStr)]
    assert [name for name in secrets if LISTED[PREFIX + name.upper()]] == []


def test_every_line_is_a_comment_and_every_setting_has_its_meaning_above() -> None:
    assert all(line.startswith("#") for line in LINES if line)
    paragraphs = "\n".join(LINES).split("\n\n")
    settings = [part for part in paragraphs if f"# {PREFIX}" in part]
    plain = {"LAKEHOUSE_POSTGRES_HOST"}  # the title of the section says it
    assert [part for part in settings if re.match(rf"# {PREFIX}", part) and not any(n in part for n in plain)] == []


def test_the_uncommented_file_is_one_that_the_settings_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LISTED:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "all.env"
    set_here = [f"{name}={value}\n" for name, value in LISTED.items() if name != "LAKEHOUSE_HOME"]
    file.write_text("".join(set_here), "utf-8")
    read, untouched = (Settings(home=tmp_path, _env_file=one) for one in (file, None))  # type: ignore[call-arg]
    assert read == untouched
