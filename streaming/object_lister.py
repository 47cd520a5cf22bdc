"""For stores without notifications: list what is new in the landing bucket and announce it on the notifications topic.

Keys must have the layout `<prefix>date=YYYY-MM-DD/...` and be in the order of time: each look starts after the newest
key that the lister announced, so its cost does not grow with what was seen. A key of another layout, or of a day that
is far off, is passed over: it would be the newest for ever. The lister remembers its place in Kafka, in the metadata of
its consumer group's offset: one small record, whatever else is on the topic. A look that was cut off before it
remembered is announced again, which the stream drops. What comes behind the newest key is found by the nightly
reconciliation. Keys of tomorrow (a collector's clock is ahead, or counts its days in another zone) are followed by a
place of their own, which becomes the newest key when their day comes: all of today would be behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from confluent_kafka import Consumer, KafkaException, TopicPartition

from lakehouse import metrics
from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import client_config
from lakehouse.logs import get_logger
from lakehouse.object_store import s3_client
from lakehouse.settings import Settings
from streaming.announcer import Announcer
from streaming.landing_bucket import listed
from streaming.object_notifications import NotifiedObject, key_date

log = get_logger(__name__)
POLL_SECONDS = 2.0
GROUP = "object-lister"
TIMEOUT_SECONDS = 15.0


class Bookmark:
    """The newest announced key, kept by Kafka for the prefix that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        group = f"{GROUP}.{settings.landing_bucket}.{settings.landing_prefix}"
        self._place = TopicPartition(settings.click_objects_topic, 0)
        self._consumer = Consumer(client_config(settings) | {"group.id": group, "enable.auto.commit": False})

    def read(self) -> str:
        """The key, or an empty text before the first. Raises `ServiceUnreachable`."""
        try:
            (found,) = self._consumer.committed([self._place], timeout=TIMEOUT_SECONDS)
        except KafkaException as error:
            raise self._unreachable(error) from None
        return str(found.metadata or "") if found.offset >= 0 else ""

    def write(self, key: str) -> None:
        """Remember the key. Raises `ServiceUnreachable`."""
        # The offset itself says nothing; Kafka keeps the metadata only with one.
        place = TopicPartition(self._place.topic, self._place.partition, 0, key)
        try:
            self._consumer.commit(offsets=[place], asynchronous=False)
        except KafkaException as error:
            raise self._unreachable(error) from None

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _unreachable(self, error: KafkaException) -> ServiceUnreachable:
        found = error.args[0].str()
        return ServiceUnreachable("Kafka", self._settings.kafka_bootstrap_servers, f"{found}. Is it up?")


class ObjectLister:
    """Announces each object of the landing prefix in the order of the keys."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._s3 = s3_client(settings)
        self._announcer = Announcer(settings)
        self._bookmark = Bookmark(settings)
        newest = self._bookmark.read()
        self._newest = newest if self._can_be_newest(newest) else ""
        self._newest_ahead = ""
        self._stray = ""
        metrics.bucket_listed()
        self.trouble: Exception | None = None

    def announce_new(self) -> int:
        """List once and announce what is new; returns how many objects. Raises `ServiceUnreachable`."""
        if self._newest_ahead and not self._is_ahead(self._newest_ahead):
            # Its day has come.
            self._remember(self._newest_ahead)
            self._newest_ahead = ""
        new = self._new_objects()
        if new:
            self._announcer.send(one.to_json() for one in new)
        # After Kafka's acknowledgement: a crash between the two repeats and misses nothing.
        if of_today := [one.key for one in new if not self._is_ahead(one.key)]:
            self._remember(of_today[-1])
        if len(of_today) < len(new):
            self._newest_ahead = new[-1].key
        metrics.bucket_listed()
        return len(new)

    def _remember(self, key: str) -> None:
        self._bookmark.write(key)
        self._newest = key

    def has_new(self) -> bool:
        """Whether the bucket holds an object that is not announced yet."""
        return next(self._behind_newest(), None) is not None

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

    def _new_objects(self) -> list[NotifiedObject]:
        new = []
        for key, found in self._behind_newest():
            if found is None:
                # Nothing behind it is announced before it: the next look begins at the newest key.
                log.warning("object_not_complete", key=key)
                break
            new.append(found)
        return new

    def _behind_newest(self) -> Iterator[tuple[str, NotifiedObject | None]]:
        for key, found in self._behind(self._newest):
            if self._newest_ahead and self._is_ahead(key):
                break
            yield key, found
        if self._newest_ahead:
            yield from self._behind(self._newest_ahead)

    def _behind(self, newest: str) -> Iterator[tuple[str, NotifiedObject | None]]:
        for key, found in listed(self._s3, self._settings, f"{self._settings.landing_prefix}date=", newest):
            if self._can_be_newest(key):
                yield key, found
            elif not self._stray:
                # Once, and not at each look: it stays there until somebody takes it away.
                self._stray = key
                log.warning("object_of_no_day_yet", key=key)

    def _can_be_newest(self, key: str) -> bool:
        day = self._day(key)
        # A collector may be ahead of this machine's clock, or count its days in another zone.
        return day is not None and day <= datetime.now(UTC).date() + timedelta(days=1)

    def _is_ahead(self, key: str) -> bool:
        day = self._day(key)
        return day is not None and day > datetime.now(UTC).date()

    def _day(self, key: str) -> date | None:
        folder, slash, _ = key.removeprefix(self._settings.landing_prefix).partition("/")
        return key_date(folder + slash)
