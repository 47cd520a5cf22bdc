"""Kafka: one broker that is its own controller (KRaft)."""

from __future__ import annotations

import base64
import secrets
import subprocess

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.local.errors import ServiceDidNotStart
from infra.local.jars import class_path
from infra.local.plan import Plan
from infra.local.ports import is_listening
from infra.local.processes import Launch
from infra.local.service import Service, java, simple_logging

NAME = "kafka"


def server_properties(plan: Plan) -> dict[str, str]:
    """The broker's settings: one node, short sessions (a restart after a kill is quick), topics only on purpose."""
    data, controller = plan.address("kafka"), plan.address("kafka_controller")
    alone = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{data},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{data}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(plan.folder(NAME) / "log"),
        "auto.create.topics.enable": "false",
        "default.replication.factor": "1",
        **{f"{topic}.replication.factor": "1" for topic in alone},
        **{f"{topic}.min.isr": "1" for topic in alone[1:]},
        **{f"{topic}.num.partitions": "1" for topic in alone},
        "group.initial.rebalance.delay.ms": "0",
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "500",
        "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
        "controlled.shutdown.max.retries": "1",
    }


def prepare(plan: Plan) -> Launch:
    """Write the settings and format the storage once."""
    folder = plan.folder(NAME)
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    properties.write_text("".join(f"{key}={value}\n" for key, value in server_properties(plan).items()), "utf-8")
    # One compiler tier: half the processor time of a start, and a small broker's work is copying bytes.
    jvm = [*java(512, "-XX:TieredStopAtLevel=1", *simple_logging("warn")), "-cp", class_path("kafka")]
    if not (folder / "log" / "meta.properties").is_file():
        _format_storage(plan, jvm, str(properties))
    quiet = "-Dorg.slf4j.simpleLogger.log.kafka.server=info"
    return Launch([*jvm, quiet, "kafka.Kafka", str(properties)], folder, {})


def _format_storage(plan: Plan, jvm: list[str], properties: str) -> None:
    """Give an empty log folder a cluster id: 16 random bytes in URL-safe base64, which must not look like an option."""
    cluster_id = "A" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]
    command = [*jvm, "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster_id, "-c", properties]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        lines = (answer.stderr or answer.stdout).strip().splitlines()
        raise ServiceDidNotStart(NAME, "could not format its storage", plan.log(NAME), lines[-1] if lines else "")


def answers(plan: Plan) -> bool:
    """Whether the broker is registered and serves metadata."""
    if not is_listening(plan.ports[NAME], plan.host(NAME)):
        return False
    try:
        client = AdminClient({"bootstrap.servers": plan.address(NAME), "log_level": 0, "socket.timeout.ms": 2000})
        return len(client.list_topics(timeout=2.0).brokers) > 0
    except KafkaException:
        return False


SERVICE = Service(NAME, ("kafka", "kafka_controller"), prepare, answers)
