"""Make `.venv` from the hash-checked lock and fetch the JVM jars. A second run does nothing and needs no network.

Runs on the machine's own Python with the standard library only. The stamp `.venv/.setup-complete` is written last, so a
setup that was cut off is seen by its absence and done again from an empty folder.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Dict, List, Mapping

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
UV_LOCK = ROOT / "infra" / "setup" / "uv.txt"
JAR_LISTS = ROOT / "infra" / "jars"

# What uv calls the settings that pip users already have.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}


class SetupFailed(Exception):
    """A step of the setup ended with an error; the message names it and the cure."""


def fingerprint(*paths: Path) -> str:
    """SHA-256 over the contents of `paths`, in order; a file that is not there counts as empty."""
    digest = hashlib.sha256(".".join(map(str, sys.version_info[:3])).encode())
    for path in paths:
        digest.update(path.read_bytes() if path.is_file() else b"")
        digest.update(b"\0")
    return digest.hexdigest()


def wanted_stamp() -> Dict[str, str]:
    """The fingerprints of what an up-to-date environment was made from, by part."""
    return {
        "packages": fingerprint(LOCK, UV_LOCK),
        "project": fingerprint(ROOT / "pyproject.toml"),
        "jars": fingerprint(JAR_LISTS / "ivy.xml", *sorted(JAR_LISTS.glob("*.sha256"))),
        "place": str(ROOT),
    }


def read_stamp(stamp: Path) -> Dict[str, str]:
    """What the stamp says, or an empty dictionary when there is none or it is torn."""
    try:
        return dict(json.loads(stamp.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def uv_settings(pip_config: str, environment: Mapping[str, str]) -> Dict[str, str]:
    """Environment for uv: the machine's certificates, and pip's own settings under the names that uv knows.

    `pip_config` is what `pip config list` prints; what the environment already sets wins.
    """
    found = {"UV_SYSTEM_CERTS": "1"}
    for line in pip_config.splitlines():
        name, _, value = line.partition("=")
        key = name.rsplit(".", 1)[-1]
        if key in UV_NAMES:
            found[UV_NAMES[key]] = " ".join(value.strip().strip("'\"").split("\\n")).strip()
    return {**found, **{name: value for name, value in environment.items() if value}}


def run(step: str, command: List[str], env: Mapping[str, str]) -> None:
    """Run one command; raises `SetupFailed` that names `step`."""
    started = time.monotonic()
    print("setup: %s ..." % step, flush=True)
    ended = subprocess.run(command, cwd=str(ROOT), env=dict(env))
    if ended.returncode:
        raise SetupFailed("Setup stopped at: %s. Its own message is above; run `make setup` again to retry." % step)
    print("setup: %s: %.0f s" % (step, time.monotonic() - started), flush=True)


def install_packages(python: str, settings: Mapping[str, str]) -> None:
    """Fill the new environment from the lock: by the pinned uv, or by pip where uv can't."""
    run("package installer", [python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(UV_LOCK)], os.environ)
    uv_sync = [python, "-m", "uv", "pip", "sync", "-q", "--python", python, "--require-hashes", str(LOCK)]
    by_pip = [python, "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r", str(LOCK)]
    try:
        run("Python packages", uv_sync, settings)
    except SetupFailed:
        run("Python packages, by pip this time", by_pip, os.environ)


def link_project(python: str) -> None:
    """Put this work tree and the `lakehouse` command into the environment; needs no network."""
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--config-settings", "editable_mode=compat"]
    run("this project", [python, "-m", "pip", "install", "-q", *flags, "-e", str(ROOT)], os.environ)


def bring_up_to_date() -> None:
    """Make or complete `.venv` and the jars where the stamp says so. Raises `SetupFailed` and `OSError`."""
    environment = ROOT / ".venv"
    stamp = environment / ".setup-complete"
    python = str(environment / "bin" / "python")
    wanted, found = wanted_stamp(), read_stamp(stamp)
    fresh = any(found.get(part) != wanted[part] for part in ("packages", "place"))
    if fresh:
        shutil.rmtree(str(environment), ignore_errors=True)
        venv.EnvBuilder(with_pip=True, symlinks=True).create(str(environment))
        pip_config = subprocess.run([python, "-m", "pip", "config", "list"], stdout=subprocess.PIPE).stdout.decode()
        install_packages(python, uv_settings(pip_config, os.environ))
    if fresh or found.get("project") != wanted["project"]:
        link_project(python)
    jars = [python, "-m", "infra.local.jars"]
    if subprocess.run([*jars, "check"], cwd=str(ROOT)).returncode:
        run("JVM jars", [*jars, "fetch"], os.environ)
    if found != wanted:
        stamp.write_text(json.dumps(wanted, indent=2) + "\n", "utf-8")


def main() -> int:
    """Bring `.venv` and the jars up to date; trouble is one sentence. Returns the exit code, 130 after Ctrl-C."""
    try:
        bring_up_to_date()
    except SetupFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except OSError as failure:
        print("Setup stopped: %s. Run `make setup` again when that is cured." % failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Setup was interrupted. Run `make setup` again: it does what is missing.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
