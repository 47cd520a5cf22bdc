"""What the supervisor needs to know of a service, whatever it is."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

import requests

from infra.local.plan import Plan
from infra.local.processes import Launch
from infra.setup.check_machine import java_command


@dataclass(frozen=True)
class Service:
    """One process of the stack.

    `prepare` puts its folder in order (repeatable) and says how to start it; `answers` is the probe that decides
    readiness and health; `listeners` are the names of its ports, the first one is its address.
    """

    name: str
    listeners: tuple[str, ...]
    prepare: Callable[[Plan], Launch]
    answers: Callable[[Plan], bool]
    start_seconds: float = 180.0
    """Only for one that hangs: one that ends is noticed at once, and a busy machine is no reason to give up."""
    stop_seconds: float = 15.0
    stop_signal: signal.Signals = signal.SIGTERM


def java(heap_mb: int, *options: str) -> list[str]:
    """The beginning of a JVM's command line: the machine's Java, a bounded heap, the leanest collector."""
    bounds = [f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.net.preferIPv4Stack=true"]
    return [java_command(), *bounds, *options]


def simple_logging(level: str = "info") -> list[str]:
    """JVM options for the slf4j-simple binding: to standard output, with UTC-offset times."""
    prefix = "-Dorg.slf4j.simpleLogger."
    return [
        f"{prefix}defaultLogLevel={level}",
        f"{prefix}showDateTime=true",
        f"{prefix}dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        f"{prefix}logFile=System.out",
    ]


def http_answers(url: str, expected: tuple[int, ...] = (200,)) -> bool:
    """Whether a GET of `url` is answered with one of the `expected` codes within five seconds."""
    try:
        return requests.get(url, timeout=5.0).status_code in expected
    except requests.RequestException:
        return False
