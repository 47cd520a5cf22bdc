"""Messages leave the queue when Kafka has them, not before; SQS is played by botocore's own stubber."""

from __future__ import annotations

import json
import threading
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.settings import Settings
from streaming import announcer
from streaming.sqs_bridge import MOST_MESSAGES, WAIT_SECONDS, SqsBridge

QUEUE = "https://sqs.eu-west-1.amazonaws.com/1/clicks"
TOPIC = "bridged.click.objects"
PUT = json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": {}}]})
TEST = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})


@pytest.fixture
def sqs() -> Any:
    return boto3.client("sqs", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")


def queue_of(sqs: Any, *bodies: str, deleted: bool = True) -> Stubber:
    """A queue that hands out these messages once, and then none."""
    queue = Stubber(sqs)
    asked = {"QueueUrl": QUEUE, "MaxNumberOfMessages": MOST_MESSAGES, "WaitTimeSeconds": WAIT_SECONDS}
    messages = [{"Body": body, "ReceiptHandle": f"r{number}"} for number, body in enumerate(bodies)]
    queue.add_response("receive_message", {"Messages": messages}, asked)
    if deleted:
        entries = [{"Id": str(number), "ReceiptHandle": f"r{number}"} for number in range(len(bodies))]
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        queue.add_response("delete_message_batch", answer, {"QueueUrl": QUEUE, "Entries": entries})
        queue.add_response("receive_message", {}, asked)
    queue.activate()
    return queue


@pytest.mark.integration
def test_messages_reach_kafka_as_they_are_and_leave_the_queue(stack: Settings, sqs: Any) -> None:
    admin = AdminClient(client_config(stack))
    admin.create_topics([NewTopic(TOPIC, num_partitions=1)])[TOPIC].result(timeout=30)
    queue = queue_of(sqs, PUT, TEST, "nobody understands this")
    settings = stack.model_copy(update={"click_objects_topic": TOPIC})
    assert SqsBridge(settings, QUEUE, sqs).run(threading.Event(), until_empty=True) == 2
    queue.assert_no_pending_responses()
    consumer = Consumer(client_config(stack) | {"group.id": "bridged", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    found = [one.value().decode() for one in consumer.consume(2, timeout=30)]
    consumer.close()
    assert found == [PUT, "nobody understands this"]


def test_what_kafka_did_not_take_stays_in_the_queue(
    settings: Settings, sqs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer, "FLUSH_SECONDS", 0.1)
    nobody = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:9"})
    # The stubber refuses any request that is not announced: a delete would be an error of another kind.
    queue_of(sqs, PUT, deleted=False)
    with pytest.raises(ServiceUnreachable, match="Kafka"):
        SqsBridge(nobody, QUEUE, sqs).run(threading.Event(), until_empty=True)
