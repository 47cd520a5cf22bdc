"""What the services hold once they run: topics, database objects, bucket, schema, connector. All of it repeatable."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import requests
import yaml
from botocore.config import Config
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local import database
from infra.local.connector import configuration
from infra.local.errors import StackInterrupted, StackNotReady
from infra.local.plan import DATABASE, Plan
from infra.local.processes import POLL_SECONDS

INFRA = Path(__file__).resolve().parents[1]
CONTRACTS = INFRA.parent / "lakehouse" / "contracts"
CONNECTOR = "shop-source"
CONNECTOR_SECONDS = 180.0
# The transaction that a killed worker left open holds its successor until the broker ends it, after a minute or more.
ANSWER_SECONDS = 180.0
BUCKET = "landing"
INVENTORY_SUBJECT = "inventory.events-value"


def declared_topics() -> dict[str, dict[str, Any]]:
    """Name -> `partitions` and `config` of every topic, from infra/kafka/topics.yaml."""
    topics: dict[str, dict[str, Any]] = yaml.safe_load((INFRA / "kafka" / "topics.yaml").read_text("utf-8"))["topics"]
    return topics


def create_topics(plan: Plan) -> None:
    """Create the declared topics that are not there. Raises `StackNotReady` for one with other partitions."""
    client = AdminClient({"bootstrap.servers": plan.address("kafka"), "log_level": 0})
    present = client.list_topics(timeout=10.0).topics
    declared = declared_topics()
    for name in declared.keys() & present.keys():
        found, expected = len(present[name].partitions), declared[name]["partitions"]
        if found != expected:
            cure = "Change infra/kafka/topics.yaml, or run `lakehouse reset`."
            raise StackNotReady(f"Topic {name}", f"it has {found} partitions and {expected} are declared", cure)
    missing = [
        NewTopic(
            name, num_partitions=topic["partitions"], replication_factor=-1, config=_as_text(topic.get("config", {}))
        )
        for name, topic in declared.items()
        if name not in present
    ]
    for name, outcome in (client.create_topics(missing) if missing else {}).items():
        try:
            outcome.result(timeout=30.0)
        except KafkaException as error:
            raise StackNotReady(f"Topic {name}", error.args[0].str(), "Read `lakehouse logs kafka`.") from None


def create_database(plan: Plan) -> None:
    """Create database, roles, tables and publication from infra/postgres/*.sql, in the order of their names."""
    with database.connect(plan, "postgres") as connection:
        known = connection.execute("select from pg_database where datname = %s", (DATABASE,)).fetchone()
        if known is None:
            connection.execute(f"create database {DATABASE}")
    for file in sorted((INFRA / "postgres").glob("*.sql")):
        database.run_sql(plan, "-f", str(file))


def create_bucket(plan: Plan) -> None:
    """Create the landing bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{plan.address('s3')}",
        region_name="us-east-1",
        aws_access_key_id=plan.secrets["s3_access"],
        aws_secret_access_key=plan.secrets["s3_secret"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}),
    )
    if BUCKET not in {one["Name"] for one in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=BUCKET)


def register_schema(plan: Plan) -> None:
    """Register the inventory schema under its subject; from then on only backward compatible ones are taken."""
    base = f"http://{plan.address('registry')}/apis/ccompat/v7"
    schema = (CONTRACTS / "inventory_event.avsc").read_text("utf-8")
    _request("POST", f"{base}/subjects/{INVENTORY_SUBJECT}/versions", {"schema": schema})
    _request("PUT", f"{base}/config/{INVENTORY_SUBJECT}", {"compatibility": "BACKWARD"})


def register_connector(plan: Plan, cancelled: threading.Event) -> None:
    """Register the source connector if it is new or changed, and wait until its task runs.

    A failed task is restarted once; raises `StackNotReady` with the task's own reason when it fails again, and
    `StackInterrupted` when `cancelled` is set.
    """
    base = f"http://{plan.address('connect')}/connectors/{CONNECTOR}"
    wanted = configuration(database.source_incarnation(plan))
    known = _request("GET", f"{base}/config", None, missing_is_fine=True)
    if known.status_code != 200 or known.json() != {**wanted, "name": CONNECTOR}:
        _request("PUT", f"{base}/config", wanted)
    deadline, restarted = time.monotonic() + CONNECTOR_SECONDS, False
    while True:
        status = _request("GET", f"{base}/status", None, missing_is_fine=True)
        states, reason = _states(status.json() if status.status_code == 200 else {})
        if states and set(states) == {"RUNNING"}:
            return
        if "FAILED" in states and not restarted:
            _request("POST", f"{base}/restart?includeTasks=true&onlyFailed=true", None)
            restarted = True
        if time.monotonic() > deadline:
            found = reason or f"it did not run within {CONNECTOR_SECONDS:.0f} s (states: {', '.join(states) or 'none'})"
            raise StackNotReady(f"Connector {CONNECTOR}", found, "Read `lakehouse logs connect`.")
        if cancelled.wait(POLL_SECONDS * 4):
            raise StackInterrupted


def _states(status: Mapping[str, Any]) -> tuple[list[str], str]:
    """States of the connector and its task (empty before it has one or failed), and the first line of a failure."""
    tasks = status.get("tasks") or []
    if not tasks and status.get("connector", {}).get("state") != "FAILED":
        return [], ""
    traces = [one["trace"] for one in (status["connector"], *tasks) if one.get("trace")]
    return [status["connector"]["state"], *(task["state"] for task in tasks)], traces[0].splitlines()[
        0
    ] if traces else ""


def _request(method: str, url: str, body: object, missing_is_fine: bool = False) -> requests.Response:
    """One call that may meet a rebalancing worker (409), a server that has just come up, or a worker that does not
    answer while it takes over from one that was killed.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            answer = requests.request(method, url, json=body, timeout=30.0)
            if answer.status_code < 300 or (missing_is_fine and answer.status_code == 404):
                return answer
            found = f"{answer.status_code} {answer.text[:300]}"
            may_pass = answer.status_code in (409, 500, 503)
        except requests.RequestException as error:
            found, may_pass = f"no answer ({type(error).__name__})", True
        if not may_pass or time.monotonic() > deadline:
            raise StackNotReady(f"{method} {url}", found, "Run `lakehouse up` again.")
        time.sleep(POLL_SECONDS * 4)


def _as_text(config: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in config.items()}
