"""Setup: what it takes over from pip, and how it knows that there is nothing to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NoReturn

import pytest

from infra.setup import install


def test_the_settings_of_pip_reach_uv_under_its_names() -> None:
    listed = (
        "global.index-url='https://mirror/simple'\nglobal.cert='/ca.pem'\n:env:.find-links='/wheels'\nuser.quiet='1'\n"
    )
    found = install.uv_settings(listed, {})
    assert found["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert found["SSL_CERT_FILE"] == "/ca.pem"
    assert found["UV_FIND_LINKS"] == "/wheels"


def test_what_the_environment_sets_for_uv_wins() -> None:
    found = install.uv_settings("global.index-url='https://mirror/simple'", {"UV_DEFAULT_INDEX": "https://own/simple"})
    assert found["UV_DEFAULT_INDEX"] == "https://own/simple"


def test_a_torn_stamp_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "stamp").write_text('{"packages": "ab')
    assert install.read_stamp(tmp_path / "stamp") == {}
    assert install.read_stamp(tmp_path / "nothing") == {}


def test_the_stamp_of_this_environment_is_up_to_date() -> None:
    stamp = json.loads((install.ROOT / ".venv" / ".setup-complete").read_text("utf-8"))
    assert stamp.keys() == install.wanted_stamp().keys()


def test_the_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("a==1")
    before = install.fingerprint(file)
    file.write_text("a==2")
    assert install.fingerprint(file) != before


def test_every_locked_package_has_hashes_and_no_download_address() -> None:
    for lock in (install.LOCK, install.UV_LOCK):
        text = lock.read_text("utf-8")
        assert "://" not in text
        pinned = re.findall(r"^[a-z0-9][^\n]*==[^\n]*\\\n {4}--hash=sha256:", text, flags=re.MULTILINE)
        assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, flags=re.MULTILINE))


def test_pyspark_and_the_client_that_shares_its_folder_are_equal() -> None:
    pins = dict(re.findall(r"^(pyspark|pyspark-client)==(\S+)", install.LOCK.read_text("utf-8"), flags=re.MULTILINE))
    assert pins["pyspark"] == pins["pyspark-client"]


@pytest.mark.parametrize(
    ("trouble", "code", "said"),
    [
        (install.SetupFailed("It stopped."), 1, "It stopped.\n"),
        (OSError("the disk is full"), 1, "Setup stopped: the disk is full. Run `make setup` again when"),
        (KeyboardInterrupt(), 130, "Setup was interrupted. Run `make setup` again"),
    ],
    ids=["a step", "the disk", "Ctrl-C"],
)
def test_trouble_is_one_sentence_and_an_exit_code(
    trouble: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> NoReturn:
        raise trouble

    monkeypatch.setattr(install, "bring_up_to_date", fail)
    assert install.main() == code
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1
