"""S3's event messages from an SQS queue to the notifications topic.

A message leaves the queue after Kafka acknowledged it: a crash between the two repeats it, and the stream drops the
repeat. Messages go to the topic as they are, also those that nobody understands: the stream puts such a one into the
quarantine as `bad_notification`, and goes on. Only S3's own test message is dropped here.
"""

from __future__ import annotations

import threading
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from lakehouse.errors import ServiceUnreachable
from lakehouse.kill_points import reach
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from streaming import object_notifications
from streaming.announcer import Announcer

log = get_logger(__name__)
WAIT_SECONDS = 20
LAST_WAIT_SECONDS = 2
"""For a queue that is to be emptied. A wait, however short, makes SQS ask all of its servers: without one, "empty" may
be said too soon.
"""
MOST_MESSAGES = 10
"""The most that SQS hands out at once."""


def sqs_client(settings: Settings, queue: str) -> Any:
    """A boto3 client for the queue's region (its URL names it) with the keys of the settings, or the default chain."""
    parts = queue.split("/")[2].split(".") if "//" in queue else []
    is_aws = len(parts) > 3 and parts[0] == "sqs"
    return boto3.client(
        "sqs",
        endpoint_url=None if is_aws else "/".join(queue.split("/")[:3]),
        region_name=parts[1] if is_aws else settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value() or None,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value() or None,
    )


class SqsBridge:
    """Moves messages from one queue to the notifications topic."""

    def __init__(self, settings: Settings, queue: str) -> None:
        self._settings = settings
        self._queue = queue
        self._sqs = sqs_client(settings, queue)
        self._announcer = Announcer(settings)

    def run(self, stopping: threading.Event, until_empty: bool = False) -> int:
        """Move messages until told to stop, or until the queue is empty; returns how many reached Kafka.

        A queue or a broker that is down is waited for; with `until_empty` it raises `ServiceUnreachable`.
        """
        moved = 0
        while not stopping.is_set():
            try:
                received, sent = self.move(LAST_WAIT_SECONDS if until_empty else WAIT_SECONDS)
            except ServiceUnreachable as trouble:
                if until_empty:
                    raise
                log.warning("notifications_not_moved", reason=str(trouble))
                stopping.wait(WAIT_SECONDS)
                continue
            moved += sent
            if until_empty and not received:
                break
        return moved

    def move(self, wait_seconds: int) -> tuple[int, int]:
        """Receive once, waiting for a first message; returns how many messages came and how many went to Kafka.

        Raises `ServiceUnreachable`.
        """
        try:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue, MaxNumberOfMessages=MOST_MESSAGES, WaitTimeSeconds=wait_seconds
            )
            messages = answer.get("Messages", [])
            bodies = [one["Body"].encode() for one in messages]
            sent = self._announcer.send(body for body in bodies if not self._is_test(body))
            reach("before_leaving_the_queue")
            if messages:
                self._delete(messages)
        except (BotoCoreError, ClientError) as error:
            raise ServiceUnreachable(
                "The queue", self._queue, f"Check its address and the rights on it: {error}"
            ) from None
        return len(messages), sent

    def _is_test(self, body: bytes) -> bool:
        said = object_notifications.read(body, self._settings.landing_bucket, self._settings.landing_prefix)
        is_test = said.ignored == ("test_event",)
        if is_test:
            log.info("notification_ignored", reason="test_event")
        return is_test

    def _delete(self, messages: list[dict[str, Any]]) -> None:
        entries = [{"Id": str(number), "ReceiptHandle": one["ReceiptHandle"]} for number, one in enumerate(messages)]
        answer = self._sqs.delete_message_batch(QueueUrl=self._queue, Entries=entries)
        for failed in answer.get("Failed", []):
            # SQS hands it out again after its visibility timeout, and the stream drops the repeat.
            log.warning("message_not_deleted", code=failed["Code"])
