"""Ports: one sentence when one is busy, and never two services on one."""

from __future__ import annotations

import os
import socket

import pytest

from infra.local.errors import PortBusy
from infra.local.ports import LOOPBACK, block_of_ports, free_ports, is_free, require_free


def test_a_busy_port_is_one_sentence_with_its_holder_and_the_cure() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(PortBusy) as busy:
            require_free("kafka", port)
    assert f"Port {port}, which kafka needs, is already in use by" in str(busy.value)
    assert f"(process {os.getpid()})" in str(busy.value)
    assert "LAKEHOUSE_PORT_BASE" in str(busy.value)


def test_a_port_is_free_until_somebody_listens_there() -> None:
    port = free_ports()["kafka"]
    require_free("kafka", port)
    assert is_free(port)
    with socket.socket() as held:
        held.bind((LOOPBACK, port))
        held.listen()
        assert not is_free(port)


def test_free_ports_differ() -> None:
    ports = free_ports()
    assert len(set(ports.values())) == len(ports)


def test_one_number_moves_the_whole_block() -> None:
    default, moved = block_of_ports(), block_of_ports(31000)
    assert default["kafka"] == 29092
    assert {name: moved[name] - default[name] for name in default} == dict.fromkeys(default, 2000)
