"""The shop on the real parts: killed at the worst moments, its account equals what Kafka, S3 and Postgres hold."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import boto3
import psycopg
import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from infra.local.stack import running
from infra.shop.account import Account, read_account
from infra.shop.opening import Sizes
from infra.shop.run import run_shop
from lakehouse.settings import PROJECT_ROOT, Settings

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SMALL = Sizes(orders=300, scale=0.3, ticks=4)
DYING_SHOP = """
import os, signal, sys
from infra.shop import bookkeeping, events
from infra.shop.opening import Sizes
from infra.shop.run import run_shop
from lakehouse.settings import load_settings

moment, channel, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
channels = {}

def die_when_due(at, entry_channel):
    global left
    if (at, entry_channel) == (moment, channel):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

class Book(bookkeeping.AccountBook):
    def intend(self, channel, **facts):
        entry = super().intend(channel, **facts)
        channels[entry] = channel
        die_when_due("intended", channel)
        return entry

    def confirm(self, entry, arrived=None):
        die_when_due("arrived", channels.get(entry))
        super().confirm(entry, arrived)

class Sender(events.Producer):
    def produce(self, *arguments, **named):
        super().produce(*arguments, **named)
        self.poll(0.001)
        die_when_due("sending", "kafka")

import infra.shop.opening as opening
opening.AccountBook = Book
events.Producer = Sender
run_shop(load_settings(), seed=7, sizes=Sizes(orders=300, scale=0.3, ticks=4))
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running(tmp_path_factory.mktemp("shop-stack")) as settings:
        yield settings


def die(settings: Settings, moment: str, channel: str, number: int) -> None:
    command = [sys.executable, "-c", DYING_SHOP, moment, channel, str(number)]
    environment = os.environ | {"LAKEHOUSE_HOME": str(settings.home)}
    ended = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=180)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def records(settings: Settings, topic: str) -> list[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": "witness",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    partitions = set(consumer.list_topics(topic, timeout=15).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    found = []
    while partitions:
        message = consumer.poll(30)
        assert message is not None
        if message.error() is None:
            found.append(message)
        else:
            partitions.discard(message.partition())
    consumer.close()
    return found


def lines_in_bucket(settings: Settings) -> list[bytes]:
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
    )
    lines: list[bytes] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=settings.landing_bucket):
        for item in page.get("Contents", []):
            body = client.get_object(Bucket=settings.landing_bucket, Key=item["Key"])["Body"].read()
            body = gzip.decompress(body) if item["Key"].endswith(".gz") else body
            lines += body.split(b"\n")[:-1]
    return lines


def rows_in_postgres(settings: Settings) -> dict[str, int]:
    with psycopg.connect(**settings.postgres_conninfo) as connection:
        counts = {}
        for table in ("customers", "products", "orders"):
            row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert row is not None
            counts[table] = row[0]
        return counts


def differences(settings: Settings, account: Account) -> dict[str, tuple[object, object]]:
    """Found and expected, where they differ."""
    stock = records(settings, settings.inventory_topic)
    ours = [one for one in records(settings, "shop.public.orders") if dict(one.headers() or []).get("shop_entry")]
    ids = Counter(one for one in (event_id_of(message.value()) for message in stock) if one)
    changed = {table: rows["insert"] - rows["delete"] for table, rows in account.changes.tables.items()}
    compared = {
        "stock records": (len(stock), account.inventory.records),
        "stock ids": (ids & Counter(account.inventory.event_ids), Counter(account.inventory.event_ids)),
        "bad changes": (len(ours), account.changes.bad.total()),
        "click lines": (len(lines_in_bucket(settings)), account.clicks.lines),
        "rows": (rows_in_postgres(settings), changed),
        "unsettled": (len(account.unsettled), 0),
    }
    return {name: pair for name, pair in compared.items() if pair[0] != pair[1]}


def event_id_of(value: bytes | str | None) -> str | None:
    """The first field of the contract: a string of 36 characters after its length."""
    if not isinstance(value, bytes) or value[5:6] != b"\x48":
        return None
    return value[6:42].decode()


def test_account_is_exact_after_kills_at_the_worst_moments(stack: Settings) -> None:
    for moment, channel, number in [
        ("intended", "postgres", 1),
        ("arrived", "postgres", 6),
        ("sending", "kafka", 1_700),
        ("arrived", "kafka", 1),
        ("intended", "s3", 3),
        ("arrived", "s3", 4),
        ("sending", "kafka", 30),
        ("arrived", "postgres", 5),
    ]:
        die(stack, moment, channel, number)
        assert len(read_account(stack).unsettled) == 1, (moment, channel, number)
    account = run_shop(stack, seed=7, sizes=SMALL)
    assert differences(stack, account) == {}
    assert read_account(stack).summary() == account.summary()


def test_another_run_in_the_same_home_goes_on(stack: Settings) -> None:
    before = run_shop(stack, seed=7, sizes=SMALL)
    account = run_shop(stack, seed=7, sizes=SMALL)
    assert account.run == before.run + 1
    assert account.inventory.good > before.inventory.good
    assert len(set(account.inventory.event_ids)) == account.inventory.good
    assert differences(stack, account) == {}


def test_change_events_in_kafka_are_those_that_the_account_foretells(stack: Settings) -> None:
    account = read_account(stack)
    for table in ("customers", "products", "orders"):
        foretold = account.changes.events(table)
        topic = f"shop.public.{table}"
        deadline = 20
        while True:
            theirs = [one for one in records(stack, topic) if not dict(one.headers() or []).get("shop_entry")]
            deadline -= 1
            if len(theirs) >= sum(foretold.values()) or not deadline:
                break
        assert sum(one.value() is None for one in theirs) == foretold["tombstone"]
        assert len(theirs) == sum(foretold.values())
