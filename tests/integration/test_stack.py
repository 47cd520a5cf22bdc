"""The embedded stack as a whole: it starts, repairs itself, carries a change from Postgres to Kafka, and stops."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import botocore.exceptions
import psutil
import psycopg
import pytest
import requests
from botocore.config import Config
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.local import content
from infra.local import stack as supervisor
from infra.local.plan import Plan, read_plan
from infra.local.ports import is_free
from infra.local.processes import family_of
from lakehouse.kafka_config import client_config
from lakehouse.settings import Settings
from streaming import source_slot

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SERVICES = [service.name for service in supervisor.SERVICES]
UP_SECONDS = 60.0
"""`lakehouse up` of an installed stack is promised to take less."""


def pids(settings: Settings) -> dict[str, int | None]:
    return {one.name: one.pid for one in supervisor.status(settings.home)}


def plan_of(settings: Settings) -> Plan:
    plan = read_plan(settings.home)
    assert plan is not None
    return plan


def kill(settings: Settings, *names: str) -> None:
    """kill -9, and nothing more gentle; every process of the service, as a machine that runs out of memory may."""
    for name in names:
        pid = pids(settings)[name]
        assert pid is not None
        for process in family_of(pid):
            # A child may follow its killed parent before its own turn comes.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(10)


def insert_customer(settings: Settings, customer_id: int, name: str = "Ann") -> str:
    """Insert a customer with an id that no shop gives; returns the id of the transaction."""
    with psycopg.connect(**settings.postgres_conninfo) as connection:  # type: ignore[arg-type]
        connection.execute("insert into customers values (%s, %s, null, 'Wales', now(), now())", (customer_id, name))
        row = connection.execute("select pg_current_xact_id()::text").fetchone()
    assert row is not None
    return str(row[0])


def messages(settings: Settings, topic: str, seconds: float = 300.0) -> Iterator[Message]:
    """The committed messages of a topic from its beginning, as they come, for at most `seconds`."""
    reader = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": f"test-{uuid4()}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    reader.subscribe([topic])
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            message = reader.poll(0.2)
            if message is not None and message.error() is None:
                yield message
    finally:
        reader.close()


@cache
def reader(url: str) -> AvroDeserializer:
    """One for all: it keeps the schemas that it has asked for."""
    return AvroDeserializer(SchemaRegistryClient({"url": url}))


def decoded(settings: Settings, message: Message) -> dict[str, Any]:
    read = reader(settings.schema_registry_url)
    value: dict[str, Any] = read(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
    return value


def change_of(settings: Settings, customer_id: int) -> tuple[Message, dict[str, Any]]:
    for message in messages(settings, "shop.public.customers"):
        value = decoded(settings, message) if message.value() else {}
        if (value.get("after") or {}).get("customer_id") == customer_id:
            return message, value
    raise AssertionError(f"no change of customer {customer_id} arrived")


@pytest.mark.parametrize("name", ["inventory.events", "clicks.objects"])
def test_a_producer_whose_clock_is_wrong_does_not_set_the_time_of_arrival(stack: Settings, name: str) -> None:
    # A topic like it: others count what is on the real one.
    topic, declared, now_ms = f"clock.{name}", content.declared_topics()[name], time.time_ns() // 1_000_000
    made = NewTopic(topic, num_partitions=1, config={key: str(value) for key, value in declared["config"].items()})
    admin = AdminClient(client_config(stack))
    admin.create_topics([made])[topic].result(timeout=30)
    producer = Producer(client_config(stack))
    producer.produce(topic, b"x", timestamp=now_ms + 10 * 365 * 86_400_000)
    assert producer.flush(60) == 0
    _, arrived_ms = next(messages(stack, topic)).timestamp()
    assert now_ms <= arrived_ms < now_ms + 3_600_000


def s3_client(settings: Settings, secret: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=secret or settings.s3_secret_key.get_secret_value(),
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def test_every_service_is_healthy_in_less_than_two_gibibytes(stack: Settings) -> None:
    found = supervisor.status(stack.home)
    assert [one.name for one in found if one.is_healthy] == SERVICES
    assert sum(one.memory for one in found) < 2 * 2**30


def test_a_second_up_keeps_the_same_processes(stack: Settings) -> None:
    before = pids(stack)
    supervisor.up(stack.home)
    assert pids(stack) == before


def test_a_row_inserted_in_postgres_arrives_as_a_decodable_change(stack: Settings) -> None:
    insert_customer(stack, 9_001_001, "Zoë")
    message, value = change_of(stack, 9_001_001)
    assert value["op"] == "c"
    assert value["after"]["customer_name"] == "Zoë"
    assert value["transaction"]["total_order"] == 1
    assert json.loads(value["source"]["sequence"])[1] == str(value["source"]["lsn"])
    with psycopg.connect(**stack.postgres_conninfo) as connection:  # type: ignore[arg-type]
        row = connection.execute("select system_identifier::text from pg_control_system()").fetchone()
    assert row is not None
    assert dict(message.headers())["source_incarnation"].decode() == f"{row[0]}/1"


def test_the_heart_beats_while_the_shop_sleeps(stack: Settings) -> None:
    now = source_slot.ask(stack).beat
    beats = (decoded(stack, one) for one in messages(stack, "shop.public.heartbeats") if one.value())
    assert any(beat["after"]["beat"] > now for beat in beats)


def test_transactions_are_announced_with_their_counts(stack: Settings) -> None:
    transaction = insert_customer(stack, 9_001_002)
    told = (decoded(stack, one) for one in messages(stack, "shop.transaction"))
    end = next(one for one in told if one["status"] == "END" and one["id"].split(":")[0] == transaction)
    assert end["data_collections"] == [{"data_collection": "public.customers", "event_count": 1}]


def test_a_killed_service_is_replaced_and_the_others_are_left_alone(stack: Settings) -> None:
    before = pids(stack)
    kill(stack, "registry")
    supervisor.up(stack.home)
    after = pids(stack)
    assert [name for name in SERVICES if before[name] != after[name]] == ["registry"]
    assert requests.get(f"{stack.schema_registry_url}/subjects", timeout=10).status_code == 200


def test_up_repairs_a_stack_that_was_killed_as_a_whole_and_no_change_is_lost(stack: Settings) -> None:
    insert_customer(stack, 9_001_003)
    kill(stack, *SERVICES)
    supervisor.up(stack.home)
    insert_customer(stack, 9_001_004)
    change_of(stack, 9_001_003)
    change_of(stack, 9_001_004)


def test_down_leaves_no_process_and_no_port_and_up_finds_the_data_again(stack: Settings) -> None:
    insert_customer(stack, 9_001_005)
    running = [one for pid in pids(stack).values() if pid for one in family_of(pid)]
    supervisor.down(stack.home)
    assert [one for one in running if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert all(is_free(port) for port in plan_of(stack).ports.values())
    began = time.monotonic()
    supervisor.up(stack.home)
    assert time.monotonic() - began < UP_SECONDS
    change_of(stack, 9_001_005)


def test_ctrl_c_during_up_stops_what_it_started(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "lakehouse.cli", "up", "--ports", "free"]
    environment = {**os.environ, "LAKEHOUSE_HOME": str(home)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    # The first service is ready, the JVMs are on their way.
    assert "ready" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert error.strip().splitlines()[-1].startswith("lakehouse: Interrupted")
    assert [one.name for one in supervisor.status(home) if one.pid] == []
    plan = read_plan(home)
    assert plan is not None
    assert all(is_free(port) for port in plan.ports.values())
    supervisor.erase(home)


def test_the_connector_does_not_show_the_database_password(stack: Settings) -> None:
    shown = requests.get(f"{stack.connect_url}/connectors/shop-source/config", timeout=10).text
    assert plan_of(stack).secrets["postgres_debezium"] not in shown


def test_addresses_and_credentials_are_for_this_user_only(stack: Settings) -> None:
    files = [stack.home / "stack" / name for name in ("stack.env", "stack.json", "s3/s3proxy.properties")]
    assert [oct(file.stat().st_mode & 0o777) for file in files] == ["0o600"] * 3


@pytest.mark.parametrize("user", ["debezium", "reader"])
def test_who_only_reads_the_source_can_not_write_it(stack: Settings, user: str) -> None:
    password = plan_of(stack).secrets[f"postgres_{user}"]
    conninfo = {**stack.postgres_conninfo, "user": user, "password": password}
    with psycopg.connect(**conninfo) as connection:  # type: ignore[arg-type]
        assert connection.execute("select count(*) from orders").fetchone() is not None
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from orders")


def test_no_password_reached_the_database_log(stack: Settings) -> None:
    text = plan_of(stack).log("postgres").read_text("utf-8")
    assert [name for name, secret in plan_of(stack).secrets.items() if secret in text] == []


def test_an_object_put_into_the_landing_bucket_is_read_back(stack: Settings) -> None:
    client = s3_client(stack)
    client.put_object(Bucket="landing", Key="clicks/date=2026-11-23/hour=09/x.jsonl", Body=b"{}\n")
    body = client.get_object(Bucket="landing", Key="clicks/date=2026-11-23/hour=09/x.jsonl")["Body"].read()
    client.delete_object(Bucket="landing", Key="clicks/date=2026-11-23/hour=09/x.jsonl")
    assert body == b"{}\n"


def test_a_wrong_key_does_not_open_the_bucket(stack: Settings) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match=r"403|SignatureDoesNotMatch"):
        s3_client(stack, secret="wrong").list_objects_v2(Bucket="landing")


def test_an_incompatible_inventory_schema_is_refused(stack: Settings) -> None:
    field = {"name": "no_default", "type": "string"}
    schema = json.dumps({"type": "record", "name": "Other", "namespace": "x", "fields": [field]})
    url = f"{stack.schema_registry_url}/subjects/inventory.events-value/versions"
    assert requests.post(url, json={"schema": schema}, timeout=10).status_code == 409
