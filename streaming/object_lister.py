"""For stores without notifications: list what is new in the landing bucket and announce it on the notifications topic.

Keys below the prefix must be in the order of time: each look starts after the newest key that was announced, so
its cost does
not grow with what was seen. The newest announced key is the topic's own last record: nothing else remembers it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import Consumer, Producer, TopicPartition

from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.logs import get_logger
from lakehouse.settings import Settings

log = get_logger(__name__)
POLL_SECONDS = 2.0


def s3_client(settings: Settings) -> Any:
    """A boto3 client of the landing store; without keys in the settings the SDK's default chain is asked."""
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint or None,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value() or None,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value() or None,
        config=Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 3, "mode": "standard"}),
    )


class ObjectLister:
    """Announces each object of the landing prefix once, in the order of the keys."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._s3 = s3_client(settings)
        self._producer = Producer(client_config(settings) | {"enable.idempotence": True, "linger.ms": 5})
        self._newest = self._newest_announced()
        self.trouble: Exception | None = None

    def announce_new(self) -> int:
        """List once and announce what is new; returns how many objects. Raises `ServiceUnreachable`."""
        failures: list[str] = []
        count = 0
        for item in self._new_objects():
            if "ETag" not in item:
                # Still being written. Nothing behind it is announced before it: the next look begins at the newest key.
                log.warning("object_not_complete", key=item["Key"])
                break
            notification = {
                "bucket": self._settings.landing_bucket,
                "key": item["Key"],
                "size": item["Size"],
                "etag": item["ETag"].strip('"'),
            }
            self._producer.produce(
                self._settings.click_objects_topic,
                json.dumps(notification).encode(),
                on_delivery=lambda error, _: failures.append(str(error)) if error else None,
            )
            count += 1
            newest = item["Key"]
        if count:
            if self._producer.flush(30) or failures:
                raise ServiceUnreachable(
                    "Kafka",
                    self._settings.kafka_bootstrap_servers,
                    f"{count} notifications were not taken: {failures[:1]}",
                )
            self._newest = newest
        return count

    def has_new(self) -> bool:
        """Whether the bucket holds an object that is not announced yet."""
        return next(self._new_objects(), None) is not None

    def run(self, stopping: threading.Event) -> None:
        """Announce new objects every few seconds until told to stop; a store that is down is waited for.

        Any other trouble ends the look-out and is kept in `trouble`: the driver must stop, or clicks would be missed.
        """
        while not stopping.wait(POLL_SECONDS):
            try:
                self.announce_new()
            except ServiceUnreachable as trouble:
                log.warning("landing_bucket_not_listed", reason=str(trouble))
            except Exception as trouble:
                self.trouble = trouble
                return

    def _new_objects(self) -> Iterator[dict[str, Any]]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._settings.landing_bucket, Prefix=self._settings.landing_prefix, StartAfter=self._newest
        )
        try:
            for page in pages:
                yield from page.get("Contents", [])
        except (BotoCoreError, ClientError) as error:
            address = self._settings.s3_endpoint or "AWS S3"
            raise ServiceUnreachable(
                f"The landing bucket {self._settings.landing_bucket}", address, f"Check the S3 settings: {error}"
            ) from None

    def _newest_announced(self) -> str:
        topic = self._settings.click_objects_topic
        consumer = Consumer(
            client_config(self._settings)
            | {"group.id": "object-lister", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        )
        try:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=15)
            if not end:
                return ""
            consumer.assign([TopicPartition(topic, 0, end - 1)])
            last = consumer.poll(15)
            if last is None or last.error():
                raise ServiceUnreachable(
                    "Kafka", self._settings.kafka_bootstrap_servers, f"Topic {topic} can't be read."
                )
            return str(json.loads(last.value() or b"{}").get("key", ""))
        finally:
            consumer.close()
