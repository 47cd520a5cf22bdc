"""A landing prefix that a test fills and tells of, apart from those of all other tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

from confluent_kafka.admin import AdminClient, NewTopic

from lakehouse.kafka_config import client_config
from lakehouse.object_store import s3_client
from lakehouse.settings import Settings
from streaming.announcer import Announcer
from streaming.object_notifications import NotifiedObject

DAY = date(2026, 11, 23)


def click(event_id: str) -> bytes:
    fields = {"event_id": event_id, "session_id": "s", "event_type": "page_view", "timestamp": "2026-11-23T09:00:00Z"}
    return json.dumps(fields).encode()


def body(*event_ids: str) -> bytes:
    return b"\n".join(map(click, event_ids)) + b"\n"


def own_topic(settings: Settings) -> None:
    """Create the topic of the notifications."""
    topic = settings.click_objects_topic
    admin = AdminClient(client_config(settings))
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(timeout=30)


@dataclass
class Landing:
    """Puts objects and tells of them."""

    settings: Settings

    def __post_init__(self) -> None:
        self._s3 = s3_client(self.settings)
        self._announcer = Announcer(self.settings)

    def put(self, name: str, content: bytes, day: date = DAY) -> NotifiedObject:
        key = f"{self.settings.landing_prefix}date={day}/hour=09/{name}"
        answer = self._s3.put_object(Bucket=self.settings.landing_bucket, Key=key, Body=content)
        return NotifiedObject(self.settings.landing_bucket, key, len(content), answer["ETag"].strip('"'))

    def remove(self, one: NotifiedObject) -> None:
        self._s3.delete_object(Bucket=one.bucket, Key=one.key)

    def tell(self, *records: NotifiedObject | bytes) -> None:
        self._announcer.send(one.to_json() if isinstance(one, NotifiedObject) else one for one in records)
