"""What one container needs to know of the stack: every service is a host of its own name, on one fixed port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.plan import Plan
from lakehouse.errors import LakehouseError

PORTS: Mapping[str, int] = {
    "kafka": 9092,
    "kafka_controller": 9093,
    "registry": 8080,
    "connect": 8083,
    "postgres": 5432,
    "s3": 9000,
    "slack": 8088,
}
VARIABLES: Mapping[str, str] = {
    "postgres_admin": "LAKEHOUSE_POSTGRES_ADMIN_PASSWORD",
    "postgres_app": "LAKEHOUSE_POSTGRES_PASSWORD",
    "postgres_debezium": "LAKEHOUSE_POSTGRES_DEBEZIUM_PASSWORD",
    "postgres_reader": "LAKEHOUSE_POSTGRES_READER_PASSWORD",
    "s3_access": "LAKEHOUSE_S3_ACCESS_KEY",
    "s3_secret": "LAKEHOUSE_S3_SECRET_KEY",
    "slack_path": "LAKEHOUSE_SLACK_PATH",
}
"""Secret of a plan -> the variable that holds it in a container. Each container is given only what it needs."""


class SecretsMissing(LakehouseError):
    """A container was started without a credential that its work needs."""

    def __init__(self, missing: Iterable[str]) -> None:
        super().__init__(
            f"Not set: {', '.join(sorted(missing))}. Fill in infra/compose/.env (infra/compose/.env.example says how) "
            "and pass them to this service in infra/compose/compose.yaml."
        )


@dataclass(frozen=True)
class ContainerPlan(Plan):
    """A plan whose services are reached by their names in the network of the containers."""

    def host(self, name: str) -> str:
        """The service's own name; a second listener (`kafka_controller`) is on the host of its service."""
        return name.partition("_")[0]


def plan_from(environment: Mapping[str, str], home: Path, needed: Iterable[str] = ()) -> ContainerPlan:
    """The plan of a container with the `needed` secrets. Raises `SecretsMissing`, which names all that are not set."""
    variables = {secret: VARIABLES[secret] for secret in needed}
    if missing := [name for name in variables.values() if not environment.get(name)]:
        raise SecretsMissing(missing)
    secrets = {secret: environment[name] for secret, name in variables.items()}
    return ContainerPlan(home, PORTS, secrets, home / "stack" / "postgres")
