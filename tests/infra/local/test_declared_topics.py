"""The files that embedded stack, compose and settings share agree with each other."""

from __future__ import annotations

import json

from infra.local.content import INFRA, declared_topics
from lakehouse.settings import Settings

CONNECTOR = json.loads((INFRA / "debezium" / "connector.json").read_text("utf-8"))


def test_every_topic_that_the_settings_name_is_declared(settings: Settings) -> None:
    named = {settings.inventory_topic, settings.alerts_topic, settings.click_objects_topic}
    assert named <= declared_topics().keys()


def test_every_captured_table_has_its_topic() -> None:
    prefix, tables = CONNECTOR["topic.prefix"], CONNECTOR["table.include.list"].split(",")
    expected = {f"{prefix}.{table}" for table in tables} | {f"{prefix}.transaction", f"__debezium-heartbeat.{prefix}"}
    assert expected <= declared_topics().keys()


def test_the_connector_sends_all_that_bronze_has_to_hold() -> None:
    kept = {
        "provide.transaction.metadata": "true",
        "skipped.operations": "none",
        "tombstones.on.delete": "true",
        "exactly.once.support": "required",
        "publication.autocreate.mode": "disabled",
        "decimal.handling.mode": "string",
    }
    assert {name: CONNECTOR.get(name) for name in kept} == kept


def test_no_credential_is_written_down() -> None:
    secrets = [name for name in CONNECTOR if "password" in name or "jaas" in name]
    assert len(secrets) > 2
    assert all(CONNECTOR[name].startswith("${env:") for name in secrets)
