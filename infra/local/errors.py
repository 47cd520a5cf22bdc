"""What can go wrong with the embedded stack, one class per cause."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lakehouse.errors import LakehouseError


class JarsMissing(LakehouseError):
    """A jar set was never fetched to this machine."""

    def __init__(self, set_name: str, folder: Path) -> None:
        super().__init__(
            f"The JVM jars of the set {set_name!r} are not in {folder}. Run `make setup` once with network."
        )


class JarDamaged(LakehouseError):
    """Jars differ from their recorded checksums, or are missing from their folder."""

    def __init__(self, set_name: str, damaged: Sequence[str]) -> None:
        names = ", ".join(damaged)
        super().__init__(
            f"{len(damaged)} jar(s) of the set {set_name!r} do not match their recorded checksum: {names}. "
            "Run `make setup`: it fetches the set again."
        )


class JarsUnreachable(LakehouseError):
    """The jars could not be fetched."""

    def __init__(self, set_name: str, answer: str) -> None:
        super().__init__(
            f"The JVM jars of the set {set_name!r} could not be fetched: {answer}. Check the network (behind a "
            "mirror, set LAKEHOUSE_JAR_REPOSITORY to its address) and run `make setup` again."
        )


class UnexpectedJars(LakehouseError):
    """What was fetched is not what is recorded."""

    def __init__(self, set_name: str, missing: Sequence[str], extra: Sequence[str], different: Sequence[str]) -> None:
        kinds = (("missing", missing), ("not recorded", extra), ("of another content", different))
        found = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds if names)
        super().__init__(
            f"The jars fetched for the set {set_name!r} are not the recorded ones ({found}). Nothing of them was kept. "
            "Fetch again, and if it stays so ask why the repository serves other files than infra/jars records."
        )


class PortBusy(LakehouseError):
    """Another program listens where a service of the stack should."""

    def __init__(self, service: str, port: int, holder: str) -> None:
        super().__init__(
            f"Port {port}, which {service} needs, is already in use by {holder}. Stop that program, or give the "
            "stack other ports: `lakehouse up --ports free`, or LAKEHOUSE_PORT_BASE=<number> for a whole block of them."
        )


class ServiceDidNotStart(LakehouseError):
    """A service ended at once or did not answer in time."""

    def __init__(self, service: str, found: str, log: Path, last_line: str) -> None:
        said = f" Its last words: {last_line}" if last_line else ""
        super().__init__(
            f"{service} {found}.{said} Read `lakehouse logs {service}` ({log}), then run `lakehouse up` again."
        )


class StackNotReady(LakehouseError):
    """A service runs, but what it should hold could not be put in place."""

    def __init__(self, what: str, found: str, cure: str) -> None:
        super().__init__(f"{what}: {found}. {cure}")


class StackBusy(LakehouseError):
    """Another `lakehouse up` or `down` works on the same home."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"Another `lakehouse up` or `down` is at work on {home}. Wait for it to end, then try again.")


class StackInterrupted(LakehouseError):
    """Ctrl-C during `up`."""

    def __init__(self) -> None:
        super().__init__(
            "Interrupted: what this `lakehouse up` had started was stopped again; nothing else was touched."
        )


class NoSuchService(LakehouseError):
    """A name that is not a service of the stack."""

    def __init__(self, found: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no service {found!r}; the stack has {', '.join(known)}.")


class NoIncarnation(LakehouseError):
    """What was given is no name of a source's incarnation."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"{given!r} is no <system identifier>/<timeline>, two numbers: docs/runbooks/source-restored.md says how "
            "to ask the source for it."
        )


class UnknownVariables(LakehouseError):
    """The connector's file does not name these variables of a worker."""

    def __init__(self, unknown: Sequence[str], known: Sequence[str]) -> None:
        super().__init__(
            f"infra/debezium/connector.json does not name {', '.join(unknown)}. Besides those that every worker needs "
            f"it knows {', '.join(known)}."
        )
