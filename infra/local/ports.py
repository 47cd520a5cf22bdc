"""Where the services listen: always on loopback, by default in one block of ports, or wherever is free."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psutil

from infra.local.errors import PortBusy

LOOPBACK = "127.0.0.1"
DEFAULT_BASE = 29000
OFFSETS: Mapping[str, int] = {
    "s3": 0,
    "registry": 81,
    "connect": 83,
    "slack": 88,
    "kafka": 92,
    "kafka_controller": 93,
    "postgres": 432,
}


def block_of_ports(base: int = DEFAULT_BASE) -> dict[str, int]:
    """The port of each listener in the block that begins at `base`."""
    return {name: base + offset for name, offset in OFFSETS.items()}


def free_ports() -> dict[str, int]:
    """Ports that nothing listens on now, one for each listener, all different."""
    sockets = {name: socket.socket() for name in OFFSETS}
    try:
        for one in sockets.values():
            one.bind((LOOPBACK, 0))
        return {name: int(one.getsockname()[1]) for name, one in sockets.items()}
    finally:
        for one in sockets.values():
            one.close()


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def is_listening(port: int, host: str = LOOPBACK) -> bool:
    """Whether a connection to this port is taken within half a second."""
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def require_free(service: str, port: int) -> None:
    """Raise `PortBusy`, with the name of the holder where it can be known, unless `port` is free."""
    if not is_free(port):
        raise PortBusy(service, port, holder_of(port))


def holder_of(port: int) -> str:
    """The program that listens on `port`, as its name and pid; "another program" when the system does not tell."""
    for process in psutil.process_iter():
        if port in _listening_ports(process):
            return f"{process.name()} (process {process.pid})"
    return "another program"


def _listening_ports(process: psutil.Process) -> set[int]:
    """The ports a process listens on; empty where the system does not tell."""
    try:
        connections = process.net_connections("tcp")
    except (psutil.Error, OSError):
        return set()
    return {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}
