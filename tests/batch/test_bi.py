"""`lakehouse bi`: a JDBC client reads what was published; a busy port and an empty home are one sentence."""

from __future__ import annotations

import os
import socket
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyspark
import pytest
from deltalake import write_deltalake

from batch import bi
from batch.marts import published
from infra.demo import processes
from infra.local.ports import free_ports, is_listening
from infra.local.processes import family_of
from infra.setup.check_machine import java_command
from lakehouse.errors import ServiceUnreachable, StepFailed
from lakehouse.settings import Settings
from lakehouse.tables import PUBLICATIONS

READY_SECONDS = 120.0
"""Only for a server that hangs: one that ends is noticed at once."""


def publish(settings: Settings, *order_ids: int) -> None:
    """One published mart, as a night leaves it, and a newer version of it that was not published."""
    mart = published("fct_orders")
    write_deltalake(mart.path(settings), pa.table({"order_id": list(order_ids)}))
    write_deltalake(mart.path(settings), pa.table({"order_id": [99]}), mode="append")
    row = ("night-1", date(2026, 11, 23), mart.name, 0, 0, len(order_ids), datetime.now(UTC))
    record = {name: [value] for name, value in zip(PUBLICATIONS.columns, row, strict=True)}
    write_deltalake(PUBLICATIONS.path(settings), pa.table(record))


def ask(port: int, query: str) -> list[str]:
    """The rows that Spark's own JDBC client prints for a query."""
    jars = Path(pyspark.__file__).parent / "jars" / "*"
    client = [java_command(), "-cp", str(jars), "org.apache.hive.beeline.BeeLine"]
    plain = ["--silent=true", "--showHeader=false", "--outputformat=csv2", "-n", "reader"]
    address = ["-u", f"jdbc:hive2://{bi.HOST}:{port}/gold"]
    answer = subprocess.run(
        [*client, *plain, *address, "-e", query], capture_output=True, text=True, timeout=READY_SECONDS
    )
    assert answer.returncode == 0, answer.stderr
    # Behind its prompt.
    return answer.stdout.rpartition("> ")[2].split()


def test_a_busy_port_is_named_with_the_cure(settings: Settings) -> None:
    publish(settings, 7)
    with socket.socket() as held:
        held.bind((bi.HOST, 0))
        held.listen()
        port = held.getsockname()[1]
        with (
            pytest.raises(ServiceUnreachable, match=rf"{bi.HOST}:{port}.* choose one with --port"),
            bi.server(settings, port),
        ):
            pass


def test_before_the_first_publication_the_server_does_not_start(settings: Settings) -> None:
    with (
        pytest.raises(StepFailed, match=r"Nothing was published yet.*`lakehouse night run`"),
        bi.server(settings, free_ports()["kafka"]),
    ):
        pass


@pytest.mark.slow
def test_a_jdbc_client_reads_what_was_published_and_the_server_ends_when_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("LAKEHOUSE_") and name != "LAKEHOUSE_CACHE"]:
        monkeypatch.delenv(name)
    publish(settings, 7, 8)
    port = free_ports()["kafka"]
    # A process of its own: the server would take over the session of the other tests.
    server = processes.start(settings, "bi", "bi", "--port", str(port))
    try:
        server.wait_for(lambda: server.has_said("bi_server_ready"), READY_SECONDS)
        family = family_of(server.process.pid)
        assert ask(port, "select order_id from fct_orders order by order_id") == ["7", "8"]
    finally:
        server.stop()
    assert server.process.returncode == 0
    # The JVM ends by itself, a moment after the Python that owns it.
    _, alive = psutil.wait_procs(family, timeout=READY_SECONDS)
    assert alive == []
    assert not is_listening(port)
