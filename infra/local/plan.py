"""What one home's stack is made of: ports, generated credentials, folders. Kept until `lakehouse reset`."""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local.ports import LOOPBACK, block_of_ports, free_ports

SECRETS = (
    "postgres_admin",
    "postgres_app",
    "postgres_debezium",
    "postgres_reader",
    "s3_access",
    "s3_secret",
    "slack_path",
)
DATABASE = "shop"


@dataclass(frozen=True)
class Plan:
    """One home's stack. `postgres_folder` is elsewhere when the account that runs Postgres can't reach the home."""

    home: Path
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    postgres_folder: Path

    def folder(self, name: str) -> Path:
        """Where the service `name` keeps its data."""
        return self.postgres_folder if name == "postgres" else self.home / "stack" / name

    def log(self, name: str) -> Path:
        """The file that takes what the service `name` prints."""
        return self.home / "logs" / f"{name}.log"

    def host(self, name: str) -> str:
        """Where the service `name` listens and is reached: loopback here, a name of its own between containers."""
        return LOOPBACK

    def address(self, name: str) -> str:
        """`host:port` of a listener."""
        return f"{self.host(name)}:{self.ports[name]}"

    @property
    def env_file(self) -> Path:
        """What the rest of the lakehouse reads: addresses and credentials as LAKEHOUSE_* variables."""
        return self.home / "stack" / "stack.env"

    def environment(self) -> dict[str, str]:
        """The variables of the env file."""
        return {
            "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": self.address("kafka"),
            "LAKEHOUSE_SCHEMA_REGISTRY_URL": f"http://{self.address('registry')}/apis/ccompat/v7",
            "LAKEHOUSE_CONNECT_URL": f"http://{self.address('connect')}",
            "LAKEHOUSE_POSTGRES_HOST": self.host("postgres"),
            "LAKEHOUSE_POSTGRES_PORT": str(self.ports["postgres"]),
            "LAKEHOUSE_POSTGRES_DATABASE": DATABASE,
            "LAKEHOUSE_POSTGRES_USER": "app",
            "LAKEHOUSE_POSTGRES_PASSWORD": self.secrets["postgres_app"],
            "LAKEHOUSE_POSTGRES_DEBEZIUM_PASSWORD": self.secrets["postgres_debezium"],
            "LAKEHOUSE_POSTGRES_READER_PASSWORD": self.secrets["postgres_reader"],
            "LAKEHOUSE_S3_ENDPOINT": f"http://{self.address('s3')}",
            "LAKEHOUSE_S3_ACCESS_KEY": self.secrets["s3_access"],
            "LAKEHOUSE_S3_SECRET_KEY": self.secrets["s3_secret"],
            "LAKEHOUSE_SLACK_WEBHOOK": f"http://{self.address('slack')}/services/{self.secrets['slack_path']}",
        }

    def write(self) -> None:
        """Keep the plan, and the env file made from it, readable by this user only."""
        kept = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        write_private(self.home / "stack" / "stack.json", json.dumps(kept, indent=2) + "\n")
        lines = [f"{name}={value}\n" for name, value in self.environment().items()]
        write_private(
            self.env_file,
            "# Written by `lakehouse up`; a variable that is set in the environment wins.\n" + "".join(lines),
        )


def read_plan(home: Path) -> Plan | None:
    """The plan of a home, or None when no stack was ever started there (or its record is torn)."""
    try:
        kept = json.loads((home / "stack" / "stack.json").read_text("utf-8"))
        return Plan(home, kept["ports"], kept["secrets"], Path(kept["postgres_folder"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_plan(home: Path, ports: Mapping[str, int]) -> Plan:
    """A new plan with fresh random credentials; makes the folders of the home."""
    folder = home / "stack" / "postgres"
    (home / "stack").mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0 and not reachable_for_others(home / "stack"):
        # Postgres refuses to run as root, and the account that runs it instead can't enter this home.
        folder = Path(tempfile.mkdtemp(prefix="provable-lakehouse-", dir="/var/tmp"))
        folder.chmod(0o755)
    return Plan(home, ports, {name: secrets.token_hex(16) for name in SECRETS}, folder)


def wanted_ports(choice: str | None) -> dict[str, int]:
    """The ports to use: "free" picks free ones, a number begins a block there, None is the block of the defaults."""
    if choice == "free":
        return free_ports()
    return block_of_ports(int(choice)) if choice else block_of_ports()


def reachable_for_others(path: Path) -> bool:
    """Whether an account without privileges may enter `path` and all folders above it."""
    place = path.resolve()
    return all(one.stat().st_mode & stat.S_IXOTH for one in (place, *place.parents))


def write_private(path: Path, text: str) -> None:
    """Write a file as a whole, readable by its owner only from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
