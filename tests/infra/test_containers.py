"""One container's view of the stack: hosts by name, only the secrets it needs, the embedded stack's own preparation."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from infra.compose import __main__ as entry
from infra.compose.containers import VARIABLES, SecretsMissing, plan_from
from infra.local import broker, connect
from infra.local.plan import Plan, wanted_ports
from infra.local.slack_stand_in import make_server


def test_the_broker_listens_under_its_own_name(tmp_path: Path) -> None:
    properties = broker.server_properties(plan_from({}, tmp_path))
    assert properties["advertised.listeners"] == "PLAINTEXT://kafka:9092"
    assert properties["controller.quorum.voters"] == "1@kafka:9093"


def test_the_worker_finds_the_broker_by_name(tmp_path: Path) -> None:
    properties = connect.worker_properties(plan_from({}, tmp_path))
    assert (properties["bootstrap.servers"], properties["listeners"]) == ("kafka:9092", "http://connect:8083")
    assert properties["rest.advertised.host.name"] == "connect"


def test_on_one_machine_everything_stays_on_loopback(tmp_path: Path) -> None:
    plan = Plan(tmp_path, wanted_ports(None), {}, tmp_path)
    assert {plan.address(name).split(":")[0] for name in plan.ports} == {"127.0.0.1"}


def test_all_missing_secrets_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(SecretsMissing) as refused:
        plan_from({"LAKEHOUSE_S3_ACCESS_KEY": "x", "LAKEHOUSE_S3_SECRET_KEY": ""}, tmp_path, ("s3_access", "s3_secret"))
    assert "Not set: LAKEHOUSE_S3_SECRET_KEY." in str(refused.value)
    with pytest.raises(SecretsMissing) as refused:
        plan_from({}, tmp_path, VARIABLES)
    assert all(name in str(refused.value) for name in VARIABLES.values())


def test_a_served_process_sees_its_own_variables_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execvpe", lambda *call: became.append(call))
    monkeypatch.setattr(os, "chdir", lambda folder: None)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("LAKEHOUSE_SLACK_PATH", "part")
    monkeypatch.setenv("LAKEHOUSE_POSTGRES_PASSWORD", "of somebody else")
    answer = CliRunner().invoke(entry.containers, ["serve", "slack"])
    assert answer.exit_code == 0, answer.output
    ((program, command, environment),) = became
    assert command == [program, "-m", "infra.local.slack_stand_in", "8088", str(tmp_path / "stack" / "slack"), "slack"]
    assert environment["SLACK_PATH"] == "part"
    assert not [name for name in environment if name.startswith("LAKEHOUSE_")]


def test_the_stand_in_listens_where_it_is_told(tmp_path: Path) -> None:
    server = make_server(0, tmp_path, "secret", "127.0.0.2")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        assert requests.get(f"http://127.0.0.2:{server.server_address[1]}/health", timeout=5).status_code == 200
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_service_that_does_not_answer_is_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setattr("infra.compose.containers.ContainerPlan.host", lambda plan, name: "127.0.0.3")
    assert CliRunner().invoke(entry.containers, ["check", "slack"]).exit_code == 1


def test_filling_says_each_step_and_keeps_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    for name in VARIABLES.values():
        monkeypatch.setenv(name, "x")
    done: list[str] = []
    for name in ("create_topics", "create_database", "create_bucket", "register_schema"):

        def step(plan: Plan, name: str = name) -> None:
            done.append(f"{name} {plan.host('postgres')}")

        step.__name__ = name
        monkeypatch.setattr(entry.content, name, step)
    answer = CliRunner().invoke(entry.containers, ["fill"])
    assert done[0] == "create_topics postgres"
    assert answer.output.splitlines() == [f"{one.split()[0].replace('_', ' ')}: done" for one in done]
