"""JVM jars by set: resolved by the Ivy inside pyspark, checked against recorded checksums, kept in one cache folder.

`python -m infra.local.jars fetch | record | check`. A set's folder is named after its checksum list, so two versions of
this project share one cache without a quarrel. `LAKEHOUSE_CACHE` moves the cache; `LAKEHOUSE_JAR_REPOSITORY` names a
mirror of the Maven repository.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from infra.local.errors import JarDamaged, JarsMissing, JarsUnreachable, UnexpectedJars
from infra.setup.check_machine import java_command
from lakehouse.errors import LakehouseError

SETS = ("spark", "s3", "kafka", "connect", "converter", "registry", "s3proxy")
RECORDS = Path(__file__).resolve().parents[1] / "jars"

SETTINGS = """<ivysettings>
  <settings defaultResolver="repository"/>
  <caches defaultCacheDir="{cache}"/>
  <resolvers>
    <ibiblio name="repository" m2compatible="true"{root}/>
    <ibiblio name="without-poms" m2compatible="true" usepoms="false"{root}/>
  </resolvers>
  <modules>
    <!-- An application's archive: its parent description is not published. -->
    <module organisation="io.apicurio" name="apicurio-registry-app" resolver="without-poms"/>
  </modules>
</ivysettings>
"""


def cache_folder() -> Path:
    """Where fetched jars live, outside the work tree, so that a fresh clone finds them."""
    named = os.environ.get("LAKEHOUSE_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(shared) / "provable-lakehouse"


def recorded(set_name: str) -> dict[str, str]:
    """File name -> SHA-256 of every jar of a set; empty when the set was never recorded."""
    record = RECORDS / f"{set_name}.sha256"
    lines = record.read_text("utf-8").splitlines() if record.is_file() else []
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def set_folder(set_name: str) -> Path:
    """The folder of one set in the cache, named after the set and its checksum list."""
    key = hashlib.sha256(repr(sorted(recorded(set_name).items())).encode()).hexdigest()[:12]
    return cache_folder() / "jars" / f"{set_name}-{key}"


def damaged(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Names of the `expected` files that are missing from `folder` or have another SHA-256, sorted."""
    return sorted(
        name for name, digest in expected.items() if not (folder / name).is_file() or sha256(folder / name) != digest
    )


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def jar_paths(set_name: str) -> list[Path]:
    """The jars of a set, each compared with its checksum once per process.

    Raises `JarsMissing` when the set is not on this machine and `JarDamaged` when a file of it has changed.
    """
    folder, expected = set_folder(set_name), recorded(set_name)
    if not folder.is_dir():
        raise JarsMissing(set_name, folder)
    if changed := damaged(folder, expected):
        raise JarDamaged(set_name, changed)
    return [folder / name for name in sorted(expected)]


def class_path(set_name: str) -> str:
    """The jars of a set as the value of `java -cp`."""
    return os.pathsep.join(map(str, jar_paths(set_name)))


def unpacked(set_name: str) -> Path:
    """The folder with the content of a set that is one tar archive; unpacked at first use."""
    (archive,) = jar_paths(set_name)
    target = archive.parent.with_name(f"{archive.parent.name}-unpacked")
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            with tarfile.open(archive) as content:
                content.extractall(temporary, filter="data")
            Path(temporary).chmod(0o755)
            shutil.copytree(temporary, f"{temporary}-whole")
            _move_into_place(Path(f"{temporary}-whole"), target)
    return target


def is_installed(set_name: str) -> bool:
    """Whether every jar of the set is there with its recorded checksum."""
    folder = set_folder(set_name)
    return folder.is_dir() and not damaged(folder, recorded(set_name))


def fetch(sets: Iterable[str]) -> None:
    """Fetch the sets that are missing or damaged; a set appears in the cache only when all of it was verified.

    Raises `JarsUnreachable` when the repository does not answer and `UnexpectedJars` when it serves other files.
    """
    (cache_folder() / "jars").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder() / "jars", prefix=".fetch-") as temporary:
        for set_name in sets:
            if is_installed(set_name):
                continue
            click.echo(f"  jars: {set_name} ...", err=True)
            found = _resolve(set_name, Path(temporary))
            _compare(set_name, found)
            _move_into_place(found, set_folder(set_name))


def record(sets: Iterable[str]) -> None:
    """Resolve the sets and write down what came as the truth from now on (after a change of ivy.xml)."""
    with tempfile.TemporaryDirectory() as temporary:
        for set_name in sets:
            found = _resolve(set_name, Path(temporary))
            lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(found.iterdir())]
            (RECORDS / f"{set_name}.sha256").write_text("".join(lines), "utf-8")


def _resolve(set_name: str, temporary: Path) -> Path:
    """Let Ivy fetch one set into `<temporary>/<set>`; its own cache lives in `temporary` too."""
    mirror = os.environ.get("LAKEHOUSE_JAR_REPOSITORY")
    root = f' root="{mirror}"' if mirror else ""
    settings = temporary / "ivysettings.xml"
    settings.write_text(SETTINGS.format(cache=temporary / "ivy", root=root), "utf-8")
    pattern = temporary / set_name / "[artifact]-[revision](-[classifier]).[ext]"
    ivy = [java_command(), "-cp", str(_ivy_jar()), "org.apache.ivy.Main", "-warn", "-settings", str(settings)]
    ivy += ["-ivy", str(RECORDS / "ivy.xml"), "-confs", set_name, "-retrieve", str(pattern)]
    answer = subprocess.run([*ivy, "-types", "jar", "bundle", "tar.gz"], capture_output=True, text=True, check=False)
    if answer.returncode or not (temporary / set_name).is_dir():
        raise JarsUnreachable(set_name, _reason(answer.stdout + answer.stderr))
    return temporary / set_name


def _ivy_jar() -> Path:
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise JarsUnreachable("ivy", "pyspark, which carries Ivy, is not installed")
    return next((Path(spec.origin).parent / "jars").glob("ivy-*.jar"))


def _reason(output: str) -> str:
    """The one line of Ivy's answer that says why."""
    lines = [line.strip(": \t") for line in output.splitlines()]
    telling = [line for line in lines if "not found" in line or "Exception" in line or "ERROR" in line.upper()]
    return telling[0] if telling else (lines[-1] if lines else "no answer")


def _compare(set_name: str, found: Path) -> None:
    expected, names = recorded(set_name), {path.name for path in found.iterdir()}
    missing, extra = sorted(expected.keys() - names), sorted(names - expected.keys())
    different = [name for name in damaged(found, expected) if name in names]
    if missing or extra or different:
        raise UnexpectedJars(set_name, missing, extra, different)


def _move_into_place(whole: Path, target: Path) -> None:
    """Rename a complete folder to its name; what stood there (a damaged set) goes."""
    if target.is_dir():
        shutil.rmtree(target)
    whole.rename(target)


@click.command()
@click.argument("action", type=click.Choice(["fetch", "check", "record"]))
@click.argument("sets", nargs=-1)
def main(action: str, sets: tuple[str, ...]) -> None:
    """Fetch, check or record jar sets (all of them by default)."""
    chosen = sets or SETS
    if action == "check":
        sys.exit(0 if all(is_installed(name) for name in chosen) else 1)
    try:
        record(chosen) if action == "record" else fetch(chosen)
    except LakehouseError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
