"""One way down for configuration: environment (and env files) -> one frozen `Settings`, passed as an argument.

Nothing below the front door reads the environment. The embedded stack writes the addresses and generated
credentials that it uses to `<home>/stack/stack.env`; a variable set in the environment wins over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lakehouse.errors import BadSettings

PREFIX = "LAKEHOUSE_"
PROJECT_ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Every value that differs between machines. Field `x_y` is read from `LAKEHOUSE_X_Y`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    profile: Literal["local", "cluster"] = "local"
    home: Path = PROJECT_ROOT / ".lakehouse"
    """State of this machine: warehouse, checkpoints, logs, the embedded stack, Airflow's home, the reports."""
    warehouse_uri: str = ""
    """Where tables live: a folder or an s3a:// address; empty means `<home>/warehouse`."""
    checkpoint_uri: str = ""
    """Where streams keep their checkpoints; empty means `<home>/checkpoints`."""
    spark_master: str = "local[2]"
    spark_driver_memory: str = "1600m"
    business_time_zone: str = "Europe/London"
    """IANA name of the zone in which a business day begins and ends."""

    kafka_bootstrap_servers: str = "127.0.0.1:29092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    kafka_ssl_ca_file: str = ""
    """PEM file of the authorities that sign the brokers' certificates."""
    kafka_ssl_certificate_file: str = ""
    kafka_ssl_key_file: str = ""
    """PEM files of this client's certificate and key (mTLS)."""
    inventory_topic: str = "inventory.events"
    alerts_topic: str = "alerts"
    click_objects_topic: str = "clicks.objects"
    source_topic_prefix: str = "shop"
    """Debezium's `topic.prefix`: change topics are `<prefix>.public.<table>`."""

    schema_registry_url: str = "http://127.0.0.1:29081/apis/ccompat/v7"
    schema_registry_username: str = ""
    schema_registry_password: SecretStr = SecretStr("")
    schema_registry_ca_file: str = ""
    schema_registry_certificate_file: str = ""
    schema_registry_key_file: str = ""

    connect_url: str = "http://127.0.0.1:29083"
    source_connector: str = "shop-source"
    """Name of Debezium's connector in Kafka Connect."""
    source_slot: str = "lakehouse"
    """Its `slot.name`: the replication slot that keeps the log for it."""

    postgres_host: str = "127.0.0.1"
    postgres_port: int = 29432
    postgres_database: str = "shop"
    postgres_user: str = "app"
    postgres_password: SecretStr = SecretStr("")
    postgres_reader_user: str = "reader"
    postgres_reader_password: SecretStr = SecretStr("")
    """The role that takes the night's cut and may read, no more."""
    postgres_read_seconds: float = 900.0
    """Longest read of the source by a night: so long it keeps vacuum from removing dead rows."""
    postgres_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    postgres_sslrootcert: str = ""
    postgres_sslcert: str = ""
    postgres_sslkey: str = ""

    s3_endpoint: str = ""
    """Address of an S3-compatible server; empty means AWS itself."""
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    """Both empty: the default credential chain of the SDK."""
    lease_seconds: float = 60
    """On S3, a driver that has not renewed its lease for so long is taken for dead, and another may start."""
    landing_bucket: str = "landing"
    landing_prefix: str = "clicks/"

    slack_webhook: SecretStr = SecretStr("")
    pushgateway_url: str = ""
    metrics_port: int = 0
    """Port of the streams' Prometheus page; 0 switches it off."""
    metrics_host: str = "127.0.0.1"
    """Where that page listens: loopback, or in a container 0.0.0.0. It has no login and holds no data."""

    max_offsets_per_batch: int = 500_000
    max_notifications_per_batch: int = 2_000
    """The same for clicks: each notification stands for an object with all its lines."""
    max_record_bytes: int = 1_048_576
    """A longer record (Kafka) or line (clicks) goes to the quarantine as `oversize`."""
    max_json_nesting: int = 32
    """The same for a line with deeper objects and lists, as `nested_too_deep`."""
    trigger_seconds: float = 1.0
    """Pause between batches of the inventory and low-stock streams, for whose result somebody waits."""
    relaxed_trigger_seconds: float = 10.0
    """The same for clicks and changes, which the night reads. Each batch costs two commits, whatever it holds."""
    low_stock_default_reorder_point: int = 20
    """Used for a product until `gold.reorder_points` has a row for it. Units of stock."""
    low_stock_clear_factor: float = 1.5
    """An episode closes when stock is above `reorder point x factor`."""
    quality_limits: Literal["shop", "online_retail"] = "shop"
    """Which named set of limits the checks use (quality/limits.py)."""

    @field_validator("business_time_zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone such as Europe/London") from error
        return value

    @property
    def warehouse(self) -> str:
        """Base address of all tables, without a closing slash."""
        return (self.warehouse_uri or str(self.home / "warehouse")).rstrip("/")

    @property
    def checkpoints(self) -> str:
        """Base address of all checkpoints, without a closing slash."""
        return (self.checkpoint_uri or str(self.home / "checkpoints")).rstrip("/")

    @property
    def postgres_conninfo(self) -> dict[str, str | int]:
        """Keyword arguments for `psycopg.connect` as the shop's role. Holds the password: never log it."""
        return self._conninfo(self.postgres_user, self.postgres_password)

    @property
    def postgres_reader_conninfo(self) -> dict[str, str | int]:
        """The same as the role that only reads."""
        return self._conninfo(self.postgres_reader_user, self.postgres_reader_password)

    def _conninfo(self, user: str, password: SecretStr) -> dict[str, str | int]:
        tls = {
            "sslmode": self.postgres_sslmode,
            "sslrootcert": self.postgres_sslrootcert,
            "sslcert": self.postgres_sslcert,
            "sslkey": self.postgres_sslkey,
        }
        return {
            "host": self.postgres_host,
            "port": self.postgres_port,
            "dbname": self.postgres_database,
            "user": user,
            "password": password.get_secret_value(),
            **{name: value for name, value in tls.items() if value},
        }


def load_settings(**overrides: object) -> Settings:
    """Read the environment and the env files once.

    Order of precedence: `overrides`, environment, the file named by `LAKEHOUSE_ENV_FILE`, the embedded stack's own
    file.
    Raises `BadSettings` with all malformed values and misspelt names together.
    """
    home = Path(str(overrides.get("home") or os.environ.get(f"{PREFIX}HOME") or PROJECT_ROOT / ".lakehouse"))
    named = os.environ.get(f"{PREFIX}ENV_FILE")
    if named and not Path(named).is_file():
        raise BadSettings([f"{PREFIX}ENV_FILE: there is no file {named}"])
    files = [home / "stack" / "stack.env", *([Path(named)] if named else [])]
    # The embedded stack's file belongs to one home; a `home` inside it would be circular.
    overrides = {**overrides, "home": home.absolute()}
    there = [file for file in files if file.is_file()]
    wrong = _misspelt({*os.environ, *(name for file in there for name in dotenv_values(file))})
    try:
        settings = Settings(_env_file=there or None, **overrides)  # type: ignore[arg-type, call-arg]
    except ValidationError as error:
        wrong += [
            f"{PREFIX}{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}"
            for one in error.errors(include_input=False)
        ]
    if wrong:
        raise BadSettings(wrong)
    return settings


def _misspelt(names: Iterable[str]) -> list[str]:
    """What is to be said of names that nobody reads and that nearly are a setting's: they would be without effect."""
    known = {name.upper() for name in Settings.model_fields}
    given = {name.upper().removeprefix(PREFIX) for name in names if name.upper().startswith(PREFIX)}
    near = {name: get_close_matches(name, known, n=1, cutoff=0.9) for name in given - known}
    return [
        f"{PREFIX}{name}: there is no such setting; is {PREFIX}{found[0]} meant?"
        for name, found in sorted(near.items())
        if found
    ]
