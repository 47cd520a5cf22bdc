"""What it costs to find new objects when many were seen before: LIST requests, counted where they are sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyspark.sql import SparkSession

from infra.bench import plain
from lakehouse.object_store import s3_client
from lakehouse.settings import Settings
from streaming.object_lister import Bookmark, ObjectLister

NEW = 10
BODY = b'{"event_id":"e1"}\n'
UPLOADS = 8


@dataclass(frozen=True)
class Looked:
    """LIST requests of one look that finds `NEW` objects."""

    ours: int
    plain: int


def look(spark: SparkSession, settings: Settings, seen: int) -> Looked:
    """Put `seen` objects and `NEW` more below the landing prefix, and look for the new ones as each side does.

    Plain Spark's file source lists the whole prefix for every batch. Raises AssertionError where our side does not
    find exactly the new ones.
    """
    s3, sent = s3_client(settings), [0]

    def put(number: int) -> str:
        key = f"{settings.landing_prefix}date=2026-01-01/hour=00/{number:08d}.jsonl"
        s3.put_object(Bucket=settings.landing_bucket, Key=key, Body=BODY)
        return key

    def count(**_: object) -> None:
        sent[0] += 1

    with ThreadPoolExecutor(UPLOADS) as pool:
        keys = list(pool.map(put, range(seen + NEW)))
    # As after a look that announced them: what happens to the announcements is not measured here.
    bookmark = Bookmark(settings)
    bookmark.write(keys[seen - 1])
    bookmark.close()
    s3.meta.events.register("before-call.s3.ListObjectsV2", count)
    found = ObjectLister(settings).announce_new()
    s3.meta.events.unregister("before-call.s3.ListObjectsV2", count)
    assert found == NEW, f"our lister found {found} new objects instead of {NEW}"
    before = _requests_of_s3a(spark, settings)
    plain.listed(spark, settings)
    return Looked(sent[0], _requests_of_s3a(spark, settings) - before)


def _requests_of_s3a(spark: SparkSession, settings: Settings) -> int:
    """LIST requests that the driver's file system has sent since it was opened, the pages after a first one too."""
    jvm = spark.sparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(plain.landing(settings))  # type: ignore[union-attr]
    counters = path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()).getIOStatistics().counters()
    return sum(int(counters.get(name) or 0) for name in ("object_list_request", "object_continue_list_request"))
