"""Rows that Silver lacks or has wrong are read again by Debezium: an incremental snapshot of just these keys, asked for
by a row in the source's table `lakehouse_signals`. So a repair comes by way of Kafka and Bronze like every other row.

A request that Debezium takes from a topic is worked on beside the changes, by another thread over the same state: with
a busy source, rows of the snapshot are lost then, or the connector ends. One in the log is met in its turn.

A snapshot can only bring rows that are there. A doubled row, and one that Postgres does not have, are made anew from
Bronze (`batch.fold_again`).
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from psycopg import sql
from pyspark.sql import SparkSession
from pyspark.sql.types import IntegralType, StringType

from batch.differences import Difference
from lakehouse import delta_io, source_beat
from lakehouse.errors import LakehouseError, ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.kafka_offsets import end_offsets
from lakehouse.logs import get_logger
from lakehouse.registry_answers import value_decoder
from lakehouse.settings import Settings
from lakehouse.source_cut import SourceCut
from lakehouse.source_rows import SCHEMA, Shape
from lakehouse.tables import REPAIRS, CapturedTable

log = get_logger(__name__)
REPAIRABLE = ("lost", "changed")
FOLDABLE = ("doubled", "extra")
KEYS_PER_REQUEST = 500
TIMEOUT_SECONDS = 180.0
BEAT_SECONDS = 2.0
SIGNALS = "lakehouse_signals"
"""The connector's `signal.data.collection`, in Debezium's form: id, type, data."""


@dataclass(frozen=True)
class Repaired:
    """What was done about the differing keys of a table."""

    rows_read: int
    """Rows that Debezium read again in Postgres."""
    keys_folded: int
    """Keys whose rows were made anew from Bronze."""


class RowsNotReadAgain(LakehouseError):
    """Debezium did not send all rows that it was asked for."""

    def __init__(self, table: str, came: int, asked: int) -> None:
        super().__init__(
            f"Of {asked} rows of {table} that the connector was asked to read again, {came} came within "
            f"{TIMEOUT_SECONDS:.0f} s. Does it run (`lakehouse source status`), is it configured with "
            f"signal.data.collection={SCHEMA}.{SIGNALS} and signal.enabled.channels=source, and is that table in the "
            "publication? Rows that were deleted since do not come: compare again."
        )


def ask(settings: Settings, found: Sequence[Difference], shape: Shape, timeout_seconds: float = TIMEOUT_SECONDS) -> int:
    """Ask Debezium for the lost and changed rows of one table, and wait until they are in Kafka (so long for each
    request); returns how many came.

    Raises `ServiceUnreachable`, and `LakehouseError` where the source does not take requests.
    """
    wanted = repairable(found)
    if not wanted:
        return 0
    table = wanted[0].table
    topic = table.topic(settings)
    came = 0
    try:
        for start in range(0, len(wanted), KEYS_PER_REQUEST):
            keys = [one.key for one in wanted[start : start + KEYS_PER_REQUEST]]
            ends = end_offsets(settings, [topic])
            # One after the other: the connector keeps those that wait in each of its offsets.
            _send(settings, request(table, shape, keys))
            rows = _wait(settings, table, shape, set(keys), ends, timeout_seconds)
            came += rows
            if not rows:
                break
    except KafkaException as error:
        raise ServiceUnreachable("Kafka", settings.kafka_bootstrap_servers, f"Topic {topic}: {error}") from None
    log.info("rows_read_again", table=table.name, asked=len(wanted), rows=came)
    return came


def repairable(found: Sequence[Difference]) -> list[Difference]:
    """The differences that reading again can mend."""
    return [one for one in found if one.kind in REPAIRABLE]


def foldable(found: Sequence[Difference]) -> list[Difference]:
    """The differences that no reading of Postgres can mend, and Bronze can."""
    return [one for one in found if one.kind in FOLDABLE]


def missing(found: Sequence[Difference], came: int) -> list[RowsNotReadAgain]:
    """What to say of a table where fewer rows came than were asked for; empty where all did."""
    asked = len(repairable(found))
    return [RowsNotReadAgain(found[0].table.name, came, asked)] if came < asked else []


def request(table: CapturedTable, shape: Shape, keys: Sequence[tuple[object, ...]]) -> dict[str, Any]:
    """Debezium's signal for an incremental snapshot of these keys."""
    collection = f"{SCHEMA}.{table.name}"
    condition = {"data-collection": collection, "filter": _filter(table, shape, keys)}
    data = {"type": "incremental", "data-collections": [collection], "additional-conditions": [condition]}
    return {"type": "execute-snapshot", "data": data}


def record(
    spark: SparkSession,
    settings: Settings,
    run: str,
    table: str,
    found: Sequence[Difference],
    repaired: Repaired,
    cut: SourceCut,
) -> None:
    """Write down what was found, asked for and done: counts, no keys."""
    kinds = Counter(one.kind for one in found)
    counts = (kinds["lost"], kinds["changed"], kinds["doubled"], kinds["extra"])
    done = (kinds["lost"] + kinds["changed"], repaired.rows_read, cut.to_json(), repaired.keys_folded)
    row = (run, table, datetime.now(UTC), *counts, *done)
    delta_io.append(spark.createDataFrame([row], REPAIRS.schema), REPAIRS, settings)


def _filter(table: CapturedTable, shape: Shape, keys: Sequence[tuple[object, ...]]) -> str:
    """A condition in SQL that holds for these keys and no others; names and values are quoted by psycopg."""
    names = sql.SQL(", ").join(sql.Identifier(shape.source_names.get(key, key)) for key in table.keys)
    rows = [sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, key))) for key in keys]
    return sql.SQL("({}) in ({})").format(names, sql.SQL(", ").join(rows)).as_string(None)


def _send(settings: Settings, signal: dict[str, Any]) -> None:
    row = (str(uuid.uuid4()), signal["type"], json.dumps(signal["data"]))
    table = sql.Identifier(SCHEMA, SIGNALS)
    try:
        with psycopg.connect(**settings.postgres_conninfo, connect_timeout=10) as connection:  # type: ignore[arg-type]
            connection.execute(sql.SQL("insert into {} (id, type, data) values (%s, %s, %s)").format(table), row)
            # The log has the request. Left there, a dump that is restored beside a slot would make it again.
            connection.execute(sql.SQL("delete from {} where id = %s").format(table), row[:1])
    except psycopg.OperationalError as error:
        address = f"{settings.postgres_host}:{settings.postgres_port}"
        raise ServiceUnreachable(
            "Postgres", address, f"Check LAKEHOUSE_POSTGRES_*: {str(error).splitlines()[0]}"
        ) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
        raise LakehouseError(
            f"The connector could not be asked to read rows again ({str(error).splitlines()[0]}): run "
            f"infra/postgres/*.sql against the source, and grant select, insert, delete on {SIGNALS} to "
            f"{settings.postgres_user}."
        ) from None


def _wait(
    settings: Settings,
    table: CapturedTable,
    shape: Shape,
    wanted: set[tuple[object, ...]],
    ends: dict[tuple[str, int], int],
    timeout_seconds: float,
) -> int:
    """How many of the wanted keys came as rows of a snapshot behind `ends`."""
    names = [shape.source_names.get(key, key) for key in table.keys]
    # Other kinds are sent in forms of their own, a date as days. Nothing else is asked for, so each row counts.
    is_sent_as_held = all(isinstance(table.columns[key].dataType, (StringType, IntegralType)) for key in table.keys)
    texts = {tuple(map(str, key)) for key in wanted}
    came: set[tuple[str, ...]] = set()
    for row in _snapshot_rows(settings, ends, time.monotonic() + timeout_seconds):
        key = tuple(str(row[name]) for name in names)
        if key in texts or not is_sent_as_held:
            came.add(key)
        if len(came) >= len(wanted):
            break
    return len(came)


def _snapshot_rows(settings: Settings, ends: dict[tuple[str, int], int], deadline: float) -> Iterator[dict[str, Any]]:
    decode = value_decoder(settings)
    only_committed = {"enable.auto.commit": False, "isolation.level": "read_committed"}
    consumer = Consumer(client_config(settings) | {"group.id": "rows-read-again", **only_committed})
    try:
        consumer.assign([TopicPartition(*place, end) for place, end in ends.items()])
        beaten = 0.0
        while time.monotonic() < deadline:
            if time.monotonic() - beaten > BEAT_SECONDS:
                # A snapshot's window closes with the next change in the log; a quiet database would make none.
                source_beat.beat(settings)
                beaten = time.monotonic()
            message = consumer.poll(0.5)
            if message is None or message.error() or message.value() is None:
                continue
            change = decode(message.value())
            if change and change["op"] == "r":
                yield change["after"]
    finally:
        consumer.close()
