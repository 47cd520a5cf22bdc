"""An object is put, S3 tells SQS, the bridge tells Kafka, the stream reads the object: on a real Kafka, and on moto's
server for S3 and SQS, which runs as a process of its own and writes S3's event messages itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from aws_server import aws_server
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from inventory_topic import TEST_BUILD
from pydantic import SecretStr
from pyspark.sql import SparkSession

from lakehouse import direct_read, lease
from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.kafka_offsets import end_offsets
from lakehouse.object_store import s3_client
from lakehouse.settings import PREFIX, Settings
from streaming import announcer, click_events, object_notifications, queries
from streaming.object_notifications import BAD, Notification, NotifiedObject
from streaming.sqs_bridge import SqsBridge, sqs_client
from streaming.writer_schemas import Registry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
FOLDER = "clicks/date=2026-11-23/hour=09"
VISIBLE_AGAIN_SECONDS = 2
"""Where a test waits for messages that come back."""
VISIBLE_SECONDS = 120
"""Longer than any bridge of a test takes."""
POISON = "nobody understands this"


@dataclass(frozen=True)
class Landing:
    """A bucket that tells a queue of its own of each new object, and the topic that the bridge fills."""

    settings: Settings
    queue: str

    def put(self, name: str, *event_ids: str) -> NotifiedObject:
        fields = {"session_id": "s", "event_type": "page_view", "timestamp": "2026-11-23T09:00:00Z"}
        body = b"".join(json.dumps({"event_id": one} | fields).encode() + b"\n" for one in event_ids)
        bucket, key = self.settings.landing_bucket, f"{FOLDER}/{name}"
        etag = s3_client(self.settings).put_object(Bucket=bucket, Key=key, Body=body)["ETag"].strip('"')
        return NotifiedObject(bucket, key, len(body), etag)

    def send(self, body: str) -> None:
        self._sqs.send_message(QueueUrl=self.queue, MessageBody=body)

    def visible_again_in(self, seconds: int) -> None:
        """What is handed out from now on comes back after so long, unless it is deleted."""
        self._sqs.set_queue_attributes(QueueUrl=self.queue, Attributes={"VisibilityTimeout": str(seconds)})

    def bridge(self, settings: Settings | None = None) -> int:
        return SqsBridge(settings or self.settings, self.queue).run(threading.Event(), until_empty=True)

    def bridge_killed_before_it_deletes(self) -> None:
        """`kill -9` of the real command after Kafka acknowledged and before the messages leave the queue."""
        own = ("home", "kafka_bootstrap_servers", "s3_endpoint", "s3_region", "landing_bucket", "click_objects_topic")
        variables = {f"{PREFIX}{name.upper()}": str(getattr(self.settings, name)) for name in own}
        keys = {f"{PREFIX}S3_ACCESS_KEY": "k", f"{PREFIX}S3_SECRET_KEY": "s"}
        test_build = {"PYTHONPATH": str(TEST_BUILD), "LAKEHOUSE_TEST_KILL_AT": "before_leaving_the_queue"}
        command = [sys.executable, "-m", "lakehouse.cli", "notifications", "sqs", "--queue", self.queue]
        ended = subprocess.run(
            command, env=os.environ | variables | keys | test_build, timeout=60, start_new_session=True, check=False
        )
        assert ended.returncode == -signal.SIGKILL

    def on_topic(self) -> list[bytes]:
        """All records, in their order."""
        topic = self.settings.click_objects_topic
        end = end_offsets(self.settings, [topic])[topic, 0]
        consumer = Consumer(client_config(self.settings) | {"group.id": "bridged"})
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = consumer.consume(end, timeout=30) if end else []
        consumer.close()
        assert len(found) == end
        return [one.value() for one in found]

    def said(self) -> list[Notification]:
        """What the stream understands of the topic."""
        settings = self.settings
        return [
            object_notifications.read(value, settings.landing_bucket, settings.landing_prefix)
            for value in self.on_topic()
        ]

    def await_waiting(self, messages: int) -> None:
        """Until SQS would hand out so many."""
        name = "ApproximateNumberOfMessages"
        deadline = time.monotonic() + 60
        while self._counted(name) != messages:
            assert time.monotonic() < deadline, self._counted(name)
            time.sleep(0.05)

    @property
    def is_queue_empty(self) -> bool:
        """Nothing waits, and nothing was handed out and may come back."""
        return not self._counted("ApproximateNumberOfMessages") + self._counted("ApproximateNumberOfMessagesNotVisible")

    def _counted(self, name: str) -> int:
        return int(self._sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=[name])["Attributes"][name])

    @property
    def _sqs(self) -> Any:
        return sqs_client(self.settings, self.queue)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with aws_server(tmp_path_factory.mktemp("aws")) as found:
        yield found


@pytest.fixture
def landing(stack: Settings, address: str, request: pytest.FixtureRequest, settings: Settings) -> Landing:
    """A bucket, a queue and a topic of this test alone."""
    name = request.node.name.replace("_", "-")[5:55]
    # Held by a name: a client that is collected takes its answers with it.
    admin = AdminClient(client_config(stack))
    admin.create_topics([NewTopic(name, num_partitions=1)])[name].result(timeout=30)
    own = {
        "home": settings.home,
        "s3_endpoint": address,
        "s3_access_key": SecretStr("k"),
        "s3_secret_key": SecretStr("s"),
        "landing_bucket": name,
        "click_objects_topic": name,
    }
    settings = stack.model_copy(update=own)
    s3 = s3_client(settings)
    s3.create_bucket(Bucket=name)
    sqs = boto3.client(
        "sqs",
        endpoint_url=address,
        region_name=settings.s3_region,
        aws_access_key_id="k",
        aws_secret_access_key="s",
    )
    queue = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": str(VISIBLE_SECONDS)})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    told = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]
    # S3 puts its test message into the queue here.
    s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"QueueConfigurations": told})
    return Landing(settings, queue)


def test_what_s3_tells_of_an_object_is_what_the_stream_understands(landing: Landing) -> None:
    objects = [landing.put("a.jsonl", "a1"), landing.put("b é+1 100%.jsonl", "b1", "b2"), landing.put("empty.jsonl")]
    landing.await_waiting(4)
    # The fourth is S3's test message.
    assert landing.bridge() == 3
    assert landing.is_queue_empty
    assert sorted((one.objects for one in landing.said()), key=str) == sorted(((one,) for one in objects), key=str)


def test_more_messages_than_one_answer_holds_all_arrive(landing: Landing) -> None:
    objects = {landing.put(f"{number}.jsonl", f"e{number}") for number in range(25)}
    assert landing.bridge() == 25
    assert {one for said in landing.said() for one in said.objects} == objects
    assert landing.is_queue_empty


def test_an_object_that_was_removed_is_told_and_passed_over_by_name(landing: Landing) -> None:
    one = landing.put("a.jsonl", "a1")
    s3_client(landing.settings).delete_object(Bucket=one.bucket, Key=one.key)
    landing.await_waiting(3)
    assert landing.bridge() == 2
    assert sorted(map(str, landing.said())) == sorted(
        map(str, [Notification((one,)), Notification(ignored=("object_removed",))])
    )


def test_a_message_that_nobody_understands_reaches_the_topic_as_it_is(landing: Landing) -> None:
    landing.send(POISON)
    one = landing.put("a.jsonl", "a1")
    landing.await_waiting(3)
    assert landing.bridge() == 2
    assert POISON.encode() in landing.on_topic()
    assert BAD in landing.said()
    assert Notification((one,)) in landing.said()
    # It does not come again for ever.
    assert landing.is_queue_empty


def test_what_kafka_did_not_take_stays_in_the_queue(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    one = landing.put("a.jsonl", "a1")
    landing.await_waiting(2)
    landing.visible_again_in(VISIBLE_AGAIN_SECONDS)
    nobody = landing.settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:9"})
    with monkeypatch.context() as patch:
        patch.setattr(announcer, "FLUSH_SECONDS", 0.1)
        with pytest.raises(ServiceUnreachable, match="Kafka"):
            landing.bridge(nobody)
    landing.await_waiting(2)
    landing.visible_again_in(VISIBLE_SECONDS)
    assert landing.bridge() == 1
    assert landing.said() == [Notification((one,))]


def test_a_queue_that_is_not_there_is_named(landing: Landing) -> None:
    nowhere = Landing(landing.settings, f"{landing.queue}-2")
    with pytest.raises(ServiceUnreachable, match=r"The queue does not answer at .*-2"):
        nowhere.bridge()


@pytest.mark.slow
def test_what_a_killed_bridge_tells_again_is_read_once(spark: SparkSession, landing: Landing) -> None:
    first, second = landing.put("a.jsonl", "a1", "a2"), landing.put("b.jsonl", "b1")
    landing.send(POISON)
    landing.await_waiting(4)
    landing.visible_again_in(VISIBLE_AGAIN_SECONDS)
    landing.bridge_killed_before_it_deletes()
    told = landing.said()
    assert sorted(map(str, told)) == sorted(map(str, [Notification((first,)), Notification((second,)), BAD]))
    # SQS had the same event twice, too: it may deliver more than once.
    landing.send(next(one.decode() for one in landing.on_topic() if b"a.jsonl" in one))
    landing.await_waiting(5)
    landing.visible_again_in(VISIBLE_SECONDS)
    assert landing.bridge() == 4
    assert landing.is_queue_empty
    assert len(landing.on_topic()) == 7
    assert in_bronze(spark, landing.settings) == ["a1", "a2", "b1"]
    (entry,) = direct_read.ledger_entries(landing.settings, "click_events")
    assert entry.balances
    assert entry.redelivered == 3
    assert entry.quarantined == {"bad_notification": 2}


def in_bronze(spark: SparkSession, settings: Settings) -> list[str]:
    """Event ids, after the stream has read the topic."""
    stream = click_events.stream(settings)
    with lease.hold(queries.lease_of(stream), settings) as held:
        registry = Registry(settings, threading.Event())
        queries.start(spark, settings, stream, registry, held, until_caught_up=True).awaitTermination()
    connection = direct_read.connect(settings, "bronze.click_events")
    sql = 'select event_id from "bronze"."click_events" order by 1'
    return [row[0] for row in direct_read.rows(connection, sql)]
