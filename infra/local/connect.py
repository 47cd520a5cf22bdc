"""Kafka Connect, one worker, with the Debezium Postgres connector and the Avro converter."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from infra.local.jars import class_path, jar_paths
from infra.local.plan import DATABASE, Plan
from infra.local.processes import Launch
from infra.local.service import Service, http_answers, java, simple_logging

NAME = "connect"
CONVERTER = "io.apicurio.registry.utils.converter.AvroConverter"


def worker_properties(plan: Plan) -> dict[str, str]:
    """The worker's settings. Connectors read addresses and the password from its environment, never from a topic."""
    converter = "org.apache.kafka.connect.json.JsonConverter"
    return {
        "bootstrap.servers": plan.address("kafka"),
        "group.id": "lakehouse-connect",
        "listeners": f"http://{plan.address(NAME)}",
        "rest.advertised.host.name": plan.host(NAME),
        "plugin.path": str(plan.folder(NAME) / "plugins"),
        # Believe what the jars announce instead of searching every class: seconds off the start.
        "plugin.discovery": "service_load",
        "key.converter": converter,
        "value.converter": converter,
        # Topics come from infra/kafka/topics.yaml.
        "topic.creation.enable": "false",
        "exactly.once.source.support": "enabled",
        "config.storage.topic": "connect.configs",
        "offset.storage.topic": "connect.offsets",
        "status.storage.topic": "connect.status",
        "offset.storage.partitions": "1",
        "status.storage.partitions": "1",
        **{f"{kind}.storage.replication.factor": "1" for kind in ("config", "offset", "status")},
        "config.providers": "env",
        "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
        "config.providers.env.param.allowlist.pattern": "(SOURCE|REGISTRY)_[A-Z]+",
        # One worker: nobody to wait for, and a killed one is replaced at once.
        "scheduled.rebalance.max.delay.ms": "0",
        "session.timeout.ms": "6000",
        "heartbeat.interval.ms": "1000",
    }


def prepare(plan: Plan) -> Launch:
    """Write the settings and the plugin folder."""
    folder = plan.folder(NAME)
    _link_converter(folder / "plugins" / "converter")
    properties = folder / "worker.properties"
    properties.write_text("".join(f"{key}={value}\n" for key, value in worker_properties(plan).items()), "utf-8")
    quiet = [*simple_logging("warn"), "-Dorg.slf4j.simpleLogger.log.io.debezium=info", "-XX:TieredStopAtLevel=1"]
    main = ["-cp", class_path("connect"), "org.apache.kafka.connect.cli.ConnectDistributed", str(properties)]
    return Launch([*java(512, *quiet), *main], folder, environment(plan))


def environment(plan: Plan) -> dict[str, str]:
    """The variables that the connector's configuration names."""
    return {
        "SOURCE_HOST": plan.host("postgres"),
        "SOURCE_PORT": str(plan.ports["postgres"]),
        "SOURCE_DATABASE": DATABASE,
        "SOURCE_PASSWORD": plan.secrets["postgres_debezium"],
        "SOURCE_SSLMODE": "disable",
        "REGISTRY_URL": f"http://{plan.address('registry')}/apis/registry/v2",
    }


def _link_converter(folder: Path) -> None:
    """A plugin folder of its own for the converter, which keeps its older libraries to itself.

    Its jar does not announce the converter the way the worker looks for it, so a small jar beside it does.
    """
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    for jar in jar_paths("converter"):
        (folder / jar.name).symlink_to(jar)
    with zipfile.ZipFile(folder / "announcement.jar", "w") as announcement:
        announcement.writestr("META-INF/services/org.apache.kafka.connect.storage.Converter", f"{CONVERTER}\n")


def answers(plan: Plan) -> bool:
    """Whether the worker has joined its group and lists connectors."""
    return http_answers(f"http://{plan.address(NAME)}/connectors")


SERVICE = Service(NAME, ("connect",), prepare, answers)
