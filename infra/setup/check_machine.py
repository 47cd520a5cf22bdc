"""Says in one sentence what this machine lacks, before anything is downloaded.

Standard library only, and no syntax newer than Python 3.6: this file has to load on the Python that it complains about.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 13)
JAVA_RELEASES = (17, 21)
NEEDED_GB = 6.0
"""Packages, jars and both caches, before the first setup."""
JARS_GB = 1.5
"""The jars alone, fetched and unpacked, where their cache is on a disk of its own."""
RUNNING_GB = 1.0
"""What the first runs write."""


def python_problem(version: Sequence[int]) -> Optional[str]:
    """One sentence when Python `version` (major, minor, ...) is outside 3.11 to 3.13, else None."""
    found = tuple(version[:2])
    if OLDEST_PYTHON <= found <= NEWEST_PYTHON:
        return None
    age = "old" if found < OLDEST_PYTHON else "new"
    return (
        "Python %d.%d is too %s: 3.11, 3.12 or 3.13 is needed. Install one of them and name it: "
        "`make setup PYTHON=python3.11`." % (found[0], found[1], age)
    )


def venv_problem() -> Optional[str]:
    """One sentence when this Python can't make virtual environments with pip in them, else None."""
    if all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        return None
    return (
        "This Python can't make virtual environments (its venv or ensurepip module is missing). Install the package "
        "that your system splits it into (on Debian and Ubuntu: apt-get install python3-venv)."
    )


def java_command() -> str:
    """The java that everything here runs: the one of JAVA_HOME where that is set, else the first on the PATH."""
    home = os.environ.get("JAVA_HOME")
    return os.path.join(home, "bin", "java") if home else "java"


def java_release(java: str) -> Optional[int]:
    """The feature release of `java` (8, 11, 17, ...), or None when it can't be run or does not say."""
    try:
        answer = subprocess.run([java, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stdout.decode("utf-8", "replace"))
    return int(match.group(1)) if match else None


def java_problem(java: str, release: Optional[int]) -> Optional[str]:
    """One sentence when `java` is not there or is a release that Spark and Debezium do not run on, else None."""
    where = "in JAVA_HOME (%s)" % os.environ["JAVA_HOME"] if os.environ.get("JAVA_HOME") else "on the PATH"
    cure = "Install Java 17 or 21 and point JAVA_HOME at it."
    if release is None:
        return "No working Java was found %s: Spark, Kafka and Debezium need one. %s" % (where, cure)
    if release not in JAVA_RELEASES:
        return "Java %d was found %s: Spark 4.1 and Debezium run on Java 17 or 21. %s" % (release, where, cure)
    return None


def disk_problem(folder: str, needed_gb: float) -> Optional[str]:
    """One sentence when the disk of `folder` (or of its nearest existing parent) has less than `needed_gb` free."""
    place = _nearest_existing(folder)
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb >= needed_gb:
        return None
    return (
        "Only %.1f GB are free at %s and %.1f GB are needed there (packages, jars, caches, state). Free some space, "
        "or move the jar cache with LAKEHOUSE_CACHE=<folder>, the packages' cache with UV_CACHE_DIR=<folder> and what "
        "runs write with LAKEHOUSE_HOME=<folder>." % (free_gb, place, needed_gb)
    )


def folders_needed(root: str, environment: Mapping[str, str]) -> List[Tuple[str, float]]:
    """(folder, gigabytes needed there): the project, and where `environment` puts the jars and the state.

    One folder for each disk, the one with the most needed: one sentence is enough for a full disk. What the project
    needs holds the rest for one disk.
    """
    cache = environment.get("LAKEHOUSE_CACHE") or root
    has_jars = os.path.isdir(os.path.join(cache, "jars"))
    is_installed = os.path.exists(os.path.join(root, ".venv", ".setup-complete"))
    wanted = [
        (root, RUNNING_GB if is_installed else NEEDED_GB),
        (cache, 0.0 if is_installed or has_jars else JARS_GB),
        (environment.get("LAKEHOUSE_HOME") or root, RUNNING_GB),
    ]
    of_disk: Dict[int, Tuple[str, float]] = {}
    for folder, needed in wanted:
        disk = _disk(folder)
        if disk not in of_disk or needed > of_disk[disk][1]:
            of_disk[disk] = (folder, needed)
    return list(of_disk.values())


def all_problems(folders: Sequence[Tuple[str, float]]) -> List[str]:
    """Everything that this machine lacks, one sentence each; `folders` are (folder, gigabytes needed there)."""
    java = java_command()
    found = [python_problem(sys.version_info[:2]), venv_problem(), java_problem(java, java_release(java))]
    found += [disk_problem(folder, needed) for folder, needed in folders]
    return [problem for problem in found if problem]


def main() -> int:
    """Print what is missing and return 1, or print nothing and return 0."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    problems = all_problems(folders_needed(root, os.environ))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _disk(folder: str) -> int:
    return os.stat(_nearest_existing(folder)).st_dev


def _nearest_existing(folder: str) -> str:
    place = os.path.abspath(folder)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return place


if __name__ == "__main__":
    sys.exit(main())
