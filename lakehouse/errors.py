"""One class per cause. A message says what was found, what was expected, and what to do.

Trouble of a row is data (it goes to the quarantine); an exception means that the run must stop.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence

FULL_DISK = re.compile(r"(?:No space left on device|Disk quota exceeded)(?:: '[^'\n]+')?")
"""The system's own words, in a stack trace of the JVM as in Python's, which adds the place."""


class LakehouseError(Exception):
    """Base of everything that the front door prints as one sentence instead of a stack trace."""


class BadSettings(LakehouseError):
    """Settings are missing or malformed; lists all of them together, each by its variable's name."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"These settings are missing or malformed (see infra/env/local.env.example):\n{lines}")


class UnsafeIdentifier(LakehouseError):
    """A name from outside does not match the grammar that may reach SQL."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"The name {found!r} can't be used: expected {expected}.")


class TableMissing(LakehouseError):
    """A table that a step reads does not exist yet."""

    def __init__(self, name: str, path: str, made_by: str) -> None:
        super().__init__(f"The table {name} does not exist at {path}. Run `{made_by}` first.")


class SchemaMismatch(LakehouseError):
    """A frame does not have the declared columns; lists all differences by kind."""

    def __init__(self, table: str, missing: Sequence[str], unexpected: Sequence[str], retyped: Sequence[str]) -> None:
        kinds = (("missing", missing), ("unexpected", unexpected), ("of another type", retyped))
        found = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds if names)
        super().__init__(f"The rows do not fit {table}: {found}. Change the transform or the declared table together.")


class BatchDoesNotBalance(LakehouseError):
    """What a batch promised is not what it holds; nothing of it was committed."""

    def __init__(self, stream: str, batch: int, promised: int, found: int, parts: str) -> None:
        super().__init__(
            f"Batch {batch} of {stream} does not balance: its offsets promise {promised} rows and {found} were found "
            f"({parts}). Nothing of it was committed. Compare `lakehouse ledger` with the broker before starting again."
        )


class LeaseHeld(LakehouseError):
    """Another driver already writes these tables."""

    SENTENCE = (
        "Another process already runs {name} ({holder}). Stop it first, or leave the work to it: "
        "two drivers must not write one table."
    )

    def __init__(self, name: str, holder: str) -> None:
        self.holder = holder
        super().__init__(self.SENTENCE.format(name=name, holder=holder))


class LeaseLost(LakehouseError):
    """This driver held a lease and does not any more: somebody else may write the tables."""

    def __init__(self, how: str) -> None:
        super().__init__(
            f"This process has lost {how}. It writes nothing more. See who runs now (docs/runbooks/stream-stopped.md) "
            "before you start it again."
        )


class StoreIgnoresConditions(LakehouseError):
    """The store overwrote an object though it was told not to: no lease can be kept there."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"The store at {address} ignores `If-None-Match` on a put, so it can't keep two drivers apart. Use a store "
            "that has conditional puts, or keep the warehouse in a folder."
        )


class JavaUnfit(LakehouseError):
    """The machine's Java is missing, or of a release that Spark, Kafka and Debezium do not run on."""


class ServiceUnreachable(LakehouseError):
    """A service that a step needs does not answer."""

    def __init__(self, service: str, address: str, cure: str) -> None:
        super().__init__(f"{service} does not answer at {address}. {cure}")


class GateClosed(LakehouseError):
    """A check that must hold did not, so readers stay on the last good version."""

    def __init__(self, layer: str, failures: Sequence[str]) -> None:
        super().__init__(
            f"{len(failures)} check(s) of the {layer} layer failed: {'; '.join(failures)}. "
            "Nothing was published; `lakehouse quality show --failed` shows what each found."
        )


class StepFailed(LakehouseError):
    """A step of the night failed for a reason that its own message names."""


def full_disk_in(text: str) -> str | None:
    """One sentence with the cure where a text, mostly a stack trace, tells of a full disk; else None."""
    found = FULL_DISK.search(text)
    if found is None:
        return None
    return (
        f"A disk is full ({found[0]}): mostly the one of LAKEHOUSE_HOME, else that of tables or checkpoints that are "
        "set to be elsewhere, or of temporary files. Free some space there and run it again: what was committed is "
        "kept, the rest is done again."
    )


def sentence_of(error: BaseException) -> str | None:
    """What is told of an error instead of its stack trace: our own message, or the cure of a full disk that it or a
    cause of it met inside of Spark. None where only the stack trace helps.
    """
    if isinstance(error, LakehouseError):
        return str(error)
    # Not of an error that was only met on the way: what came behind it may be a fault of another kind.
    causes: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in causes:
        causes.append(one)
        one = one.__cause__
    # It copes with an error of a JVM that is gone, which can't be turned into text any more.
    return full_disk_in("".join(line for cause in causes for line in traceback.format_exception_only(cause)))
