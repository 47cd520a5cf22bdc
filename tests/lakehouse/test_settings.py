"""Settings that would be without effect are named, not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.errors import BadSettings
from lakehouse.settings import Settings, load_settings


def test_misspelt_names_and_malformed_values_are_named_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "shop.env"
    file.write_text("LAKEHOUSE_S3_ACCES_KEY=x\n", "utf-8")
    monkeypatch.setenv("LAKEHOUSE_ENV_FILE", str(file))
    monkeypatch.setenv("LAKEHOUSE_KAFKA_BOOTSTRAP_SERVER", "broker:9092")
    monkeypatch.setenv("LAKEHOUSE_METRICS_PORT", "many")
    with pytest.raises(BadSettings) as caught:
        load_settings(home=tmp_path)
    named = str(caught.value)
    assert "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVER: there is no such setting; is LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS" in named
    assert "LAKEHOUSE_S3_ACCES_KEY: there is no such setting; is LAKEHOUSE_S3_ACCESS_KEY meant?" in named
    assert "LAKEHOUSE_METRICS_PORT: Input should be a valid integer" in named


def test_names_that_other_parts_read_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = ("CACHE", "JAR_REPOSITORY", "PORT_BASE", "NIGHT_RETRY_SECONDS", "POSTGRES_ADMIN_PASSWORD", "SLACK_PATH")
    for name in (*others, "POSTGRES_DEBEZIUM_PASSWORD", "SHARED_DATA", "TEST_KILL_AT"):
        monkeypatch.setenv(f"LAKEHOUSE_{name}", "x")
    assert load_settings(home=tmp_path).home == tmp_path


def test_both_roles_of_postgres_get_credentials_and_tls_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "HOST": "db.example",
        "PORT": "6432",
        "DATABASE": "orders",
        "USER": "lake",
        "PASSWORD": "write",
        "READER_USER": "look",
        "READER_PASSWORD": "read",
        "SSLMODE": "verify-full",
        "SSLROOTCERT": "/tls/ca.pem",
        "SSLCERT": "/tls/client.pem",
        "SSLKEY": "/tls/client.key",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"LAKEHOUSE_POSTGRES_{name}", value)
    settings = load_settings(home=tmp_path)
    both = {
        "host": "db.example",
        "port": 6432,
        "dbname": "orders",
        "sslmode": "verify-full",
        "sslrootcert": "/tls/ca.pem",
        "sslcert": "/tls/client.pem",
        "sslkey": "/tls/client.key",
    }
    assert settings.postgres_conninfo == both | {"user": "lake", "password": "write"}
    assert settings.postgres_reader_conninfo == both | {"user": "look", "password": "read"}
    assert "write" not in repr(settings)


def test_tls_files_that_are_not_set_are_left_to_the_driver(settings: Settings) -> None:
    # An empty `sslrootcert` would not be the default file, but no file.
    tls = {name: value for name, value in settings.postgres_conninfo.items() if name.startswith("ssl")}
    assert tls == {"sslmode": "prefer"}


def test_an_unknown_ssl_mode_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_POSTGRES_SSLMODE", "verify_full")
    with pytest.raises(BadSettings, match=r"LAKEHOUSE_POSTGRES_SSLMODE: .*'verify-full'"):
        load_settings(home=tmp_path)
