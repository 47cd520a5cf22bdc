"""The supervisor: starts what is not running, in parallel where the services allow it, and stops what it started."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from infra.local import broker, connect, content, database, object_store, registry, slack
from infra.local.errors import ServiceDidNotStart, StackBusy, StackInterrupted, StackNotReady
from infra.local.plan import Plan, make_plan, read_plan, wanted_ports
from infra.local.ports import require_free
from infra.local.processes import POLL_SECONDS, PidFile, memory_bytes, start, stop
from infra.local.service import Service
from lakehouse.settings import Settings, load_settings
from lakehouse.spark_conf import require_java

SERVICES = (broker.SERVICE, registry.SERVICE, database.SERVICE, object_store.SERVICE, slack.SERVICE, connect.SERVICE)
STATE = (
    "warehouse",
    "checkpoints",
    "stack",
    "logs",
    "airflow",
    "reports",
    "shop",
    "spark",
    "spark-local",
    "spark-warehouse",
    "dbt",
    "quarantine-requests",
)
HUNG_SECONDS = 60.0
NEEDED_BYTES = 500_000_000
"""What a fresh stack writes in its first minutes, most of it Kafka's and Postgres' logs."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class ServiceStatus:
    """One line of `lakehouse status`. `pid` is None when the service does not run; memory in bytes."""

    name: str
    pid: int | None
    port: int
    memory: int
    is_healthy: bool


def up(home: Path, ports: str | None = None, say: Say = print) -> Plan:
    """Bring the stack of a home up: start what is missing, replace what hangs, put in place what it should hold.

    `ports`: "free", the first number of a block, or None for what the home used before (else the defaults). Whatever
    goes wrong, and on Ctrl-C, the processes that this call started are stopped again. Raises the errors of
    `infra.local.errors`.
    """
    require_java()
    _require_room(home)
    with _only_one(home):
        plan = _plan_for(home, ports)
        plan.write()
        _require_free_ports(plan)
        _Start(plan, say).run()
    return plan


def down(home: Path, say: Say = print, keep: Collection[str] = ()) -> None:
    """Stop the services of a home but those named by `keep`, the connector's worker first. Nothing else is touched."""
    plan = read_plan(home)
    if plan is None:
        return
    with _only_one(home):
        _stop_services(plan, [service for service in SERVICES if service.name not in keep], say)


def stop_service(home: Path, name: str, say: Say = print) -> None:
    """Stop one service of a home and leave the others; `up` starts it again."""
    plan = read_plan(home)
    if plan is None:
        return
    with _only_one(home):
        _stop_services(plan, [service for service in SERVICES if service.name == name], say)


def status(home: Path) -> list[ServiceStatus]:
    """What runs in a home, in the order of `SERVICES`; empty when no stack was ever started there."""
    plan = read_plan(home)
    return [_status(plan, service) for service in SERVICES] if plan else []


def state_folders(home: Path) -> list[Path]:
    """What a home holds and `erase` deletes: these folders and no others, however the home is named."""
    plan = read_plan(home)
    outside = [plan.postgres_folder] if plan and home not in plan.postgres_folder.parents else []
    return [path for path in (*(home / name for name in STATE), *outside) if path.exists()]


def erase(home: Path, say: Say = print) -> None:
    """Stop the stack and delete the state of a home: tables, checkpoints, topics, database, reports."""
    doomed = state_folders(home)
    down(home, say)
    for folder in doomed:
        shutil.rmtree(folder)


@contextlib.contextmanager
def running(home: Path, ports: str = "free", say: Say = print) -> Iterator[Settings]:
    """A stack for the time of a `with` block; yields the settings that reach it.

    A home that held nothing before is erased at the end; one with state is only stopped.
    """
    leave = down if state_folders(home) else erase
    try:
        up(home, ports, say)
        yield load_settings(home=home)
    finally:
        leave(home, say)


def pid_file(plan: Plan, name: str) -> PidFile:
    """Where the pid of a service is recorded."""
    return PidFile(plan.home / "stack" / "pids" / f"{name}.json")


class _Start:
    """One `up`: what it has started so far, and whether it has to give up."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self._plan, self._say = plan, say
        self._started: list[Service] = []
        self._cancelled = threading.Event()
        self._began = time.monotonic()

    def run(self) -> None:
        """Start all; on any error or Ctrl-C stop what was started and raise."""
        try:
            with ThreadPoolExecutor(max_workers=8) as pool:
                try:
                    self._start_all(pool)
                except BaseException:
                    self._cancelled.set()
                    raise
        except KeyboardInterrupt:
            _stop_services(self._plan, self._started, self._say)
            raise StackInterrupted from None
        except OSError as error:
            _stop_services(self._plan, self._started, self._say)
            cure = "Free some space (or put right what it names) and run `lakehouse up` again."
            raise StackNotReady("Starting the stack", str(error), cure) from error
        except BaseException:
            _stop_services(self._plan, self._started, self._say)
            raise

    def _start_all(self, pool: ThreadPoolExecutor) -> None:
        plan = self._plan
        chains = [
            pool.submit(self._kafka_and_connect),
            pool.submit(self._service, registry.SERVICE, content.register_schema),
            pool.submit(self._service, database.SERVICE, content.create_database),
            pool.submit(self._service, object_store.SERVICE, content.create_bucket),
            pool.submit(self._service, slack.SERVICE),
        ]
        self._results(chains)
        self._results([pool.submit(content.register_connector, plan, self._cancelled)])
        self._tell(content.CONNECTOR, "capturing changes")

    def _kafka_and_connect(self) -> None:
        self._service(broker.SERVICE, content.create_topics)
        self._service(connect.SERVICE)

    def _service(self, service: Service, fill: Callable[[Plan], None] | None = None) -> None:
        """Start one service unless it already answers, then put in place what it should hold."""
        if self._runs_already(service):
            self._tell(service.name, "already running")
        else:
            self._launch(service)
            self._tell(service.name, f"ready on port {self._plan.ports[service.listeners[0]]}")
        if fill is not None and not self._cancelled.is_set():
            fill(self._plan)

    def _runs_already(self, service: Service) -> bool:
        """Whether the recorded process lives and answers; one that hangs is stopped."""
        record = pid_file(self._plan, service.name)
        # One that an interrupted `up` has just launched is given the time to start.
        deadline = time.monotonic() + max(HUNG_SECONDS, service.start_seconds - record.age_seconds())
        while record.living_pid() is not None:
            if service.answers(self._plan):
                return True
            if time.monotonic() > deadline:
                self._tell(service.name, "does not answer: replaced")
                stop(record, service.stop_signal, service.stop_seconds)
            if self._cancelled.wait(POLL_SECONDS * 4):
                raise StackInterrupted
        return False

    def _launch(self, service: Service) -> None:
        launch = service.prepare(self._plan)
        if self._cancelled.is_set():
            raise StackInterrupted
        log = self._plan.log(service.name)
        self._started.append(service)
        process = start(launch, log, pid_file(self._plan, service.name))
        deadline = time.monotonic() + service.start_seconds
        while not service.answers(self._plan):
            if process.poll() is not None:
                raise ServiceDidNotStart(service.name, f"ended with code {process.returncode}", log, last_line(log))
            if time.monotonic() > deadline:
                found = f"did not answer within {service.start_seconds:.0f} s"
                raise ServiceDidNotStart(service.name, found, log, last_line(log))
            if self._cancelled.wait(POLL_SECONDS):
                raise StackInterrupted

    def _results(self, chains: list[Future[None]]) -> None:
        """Wait for all, or for the first error, which is raised."""
        done, _ = wait(chains, return_when=FIRST_EXCEPTION)
        for one in done:
            one.result()

    def _tell(self, name: str, what: str) -> None:
        self._say(f"  {name:<12} {what}  ({time.monotonic() - self._began:.1f} s)")


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, without a stack trace's inner lines; empty when there is none."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()[-200:]
    except OSError:
        return ""
    telling = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith(("at ", "..."))]
    return telling[-1][:300] if telling else ""


def _plan_for(home: Path, ports: str | None) -> Plan:
    """The home's own plan; other ports only when nothing of it runs."""
    plan = read_plan(home)
    if plan is None:
        return make_plan(home, wanted_ports(ports))
    is_running = any(pid_file(plan, service.name).living_pid() for service in SERVICES)
    return plan if ports is None or is_running else replace(plan, ports=wanted_ports(ports))


def _require_room(home: Path) -> None:
    """Make the home and look at its disk: a full one ends services in ways that do not name it."""
    cure = "Free some space there, or choose another folder with LAKEHOUSE_HOME."
    try:
        (home / "stack").mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise StackNotReady(f"Making the folder {home}", str(error), cure) from error
    if free < NEEDED_BYTES:
        found = f"only {free / 1e6:,.0f} MB are free there, and the stack needs {NEEDED_BYTES / 1e6:,.0f} MB to start"
        raise StackNotReady(f"The disk of {home}", found, cure)


def _require_free_ports(plan: Plan) -> None:
    """Look at all ports before anything is started: the sentence comes at once, and nothing has to be undone."""
    for service in SERVICES:
        if pid_file(plan, service.name).living_pid() is None:
            for listener in service.listeners:
                require_free(service.name, plan.ports[listener])


def _stop_services(plan: Plan, services: list[Service], say: Say) -> None:
    """Connect first, so that it can say good-bye to the broker and the database; then the others side by side."""
    first = [service for service in services if service is connect.SERVICE]
    rest = [service for service in services if service is not connect.SERVICE]
    for group in (first, rest):
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(lambda service: _stop_service(plan, service, say), group))


def _stop_service(plan: Plan, service: Service, say: Say) -> None:
    if stop(pid_file(plan, service.name), service.stop_signal, service.stop_seconds):
        say(f"  {service.name:<12} stopped")


def _status(plan: Plan, service: Service) -> ServiceStatus:
    pid = pid_file(plan, service.name).living_pid()
    memory, is_healthy = (memory_bytes(pid), service.answers(plan)) if pid else (0, False)
    return ServiceStatus(service.name, pid, plan.ports[service.listeners[0]], memory, is_healthy)


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Hold the home's lock; the system releases it whatever happens to this process."""
    (home / "stack").mkdir(parents=True, exist_ok=True)
    with (home / "stack" / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackBusy(home) from None
        yield
