"""The image files: pinned, checked by hash, without rights and without secrets."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lakehouse.settings import PROJECT_ROOT, Settings
from orchestration.airflow_home import variables

IMAGES = {path.name.partition(".")[0]: path for path in (PROJECT_ROOT / "infra" / "images").glob("*.Dockerfile")}
SERVICES = yaml.safe_load((PROJECT_ROOT / "infra" / "compose" / "compose.yaml").read_text("utf-8"))["services"]


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of an image file in order: word and arguments, continued lines joined."""
    lines = [line for line in IMAGES[name].read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined if line.strip()]


def test_compose_builds_exactly_these_files() -> None:
    built = {one["build"]["dockerfile"] for one in SERVICES.values() if "build" in one}
    assert built == {str(path.relative_to(PROJECT_ROOT)) for path in IMAGES.values()}


@pytest.mark.parametrize("name", IMAGES)
def test_the_image_it_begins_with_is_pinned_or_ours(name: str) -> None:
    begins = [arguments for word, arguments in instructions(name) if word == "FROM"]
    contexts = [set(one["build"].get("additional_contexts", {})) for one in SERVICES.values() if "build" in one]
    ours = set().union(*contexts)
    assert [image for image in begins if image not in ours and not re.search(r":\d+\.\d+\.\d+", image)] == []


@pytest.mark.parametrize("name", IMAGES)
def test_what_runs_is_not_root(name: str) -> None:
    users = [arguments for word, arguments in instructions(name) if word == "USER"]
    assert (users or ["lakehouse"])[-1] == "lakehouse"
    assert name != "spark" or users


@pytest.mark.parametrize("name", IMAGES)
def test_no_address_and_no_secret_is_written_into_an_image(name: str) -> None:
    text = IMAGES[name].read_text("utf-8")
    assert "://" not in text
    assert [
        arguments for word, arguments in instructions(name) if word in ("ARG", "ENV") and "PASSWORD" in arguments
    ] == []


def test_packages_are_installed_by_hash() -> None:
    installs = [arguments for _, arguments in instructions("spark") if "pip install" in arguments]
    assert all("--require-hashes" in one or "--no-index" in one for one in installs)
    assert any("--requirement requirements.lock" in one for one in installs)


def test_what_is_copied_before_the_jars_is_enough_to_fetch_them(tmp_path: Path) -> None:
    steps = instructions("spark")
    fetch = next(number for number, (_, arguments) in enumerate(steps) if "infra.local.jars fetch" in arguments)
    for word, arguments in steps[:fetch]:
        if word == "COPY":
            *sources, target = shlex.split(arguments)
            for source in sources:
                _copy(PROJECT_ROOT / source, tmp_path / target)
    # `-c` looks into its own folder first: the copied modules hide those of the project, not the installed libraries.
    show = "from infra.local import jars; print(jars.__file__, *jars.recorded('spark'))"
    answer = subprocess.run([sys.executable, "-c", show], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    module, *recorded = answer.stdout.split()
    assert Path(module).is_relative_to(tmp_path)
    assert recorded


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def test_the_airflow_image_has_the_variables_that_the_night_prints(tmp_path: Path) -> None:
    (assigned,) = [arguments for word, arguments in instructions("airflow") if word == "ENV"]
    found = dict(one.split("=", 1) for one in shlex.split(assigned))
    printed = variables(Settings(home=Path("/var/lib/lakehouse"), _env_file=None))  # type: ignore[call-arg]
    here = {name: value.replace(str(PROJECT_ROOT), "/app") for name, value in printed.items()}
    assert {name: here.get(name) for name in found} == found


def test_secrets_and_state_stay_out_of_the_images() -> None:
    ignored = (PROJECT_ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {".git", ".venv", ".lakehouse", "**/.env"} <= set(ignored)
