"""Settings that would be without effect are named, not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.errors import BadSettings
from lakehouse.settings import load_settings


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
