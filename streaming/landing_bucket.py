"""Listing the landing bucket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lakehouse.errors import ServiceUnreachable
from lakehouse.settings import Settings
from streaming.object_notifications import NotifiedObject


def listed(
    s3: Any, settings: Settings, prefix: str, start_after: str = ""
) -> Iterator[tuple[str, NotifiedObject | None]]:
    """(key, object) in the order of the keys after `start_after`; None for an object that is still being written.

    One request per thousand objects, and at least one. Raises `ServiceUnreachable`.
    """
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=settings.landing_bucket, Prefix=prefix, StartAfter=start_after
    )
    try:
        for page in pages:
            for item in page.get("Contents", []):
                # Some stores list an object before it is complete; it has no etag then.
                etag = item.get("ETag", "").strip('"')
                found = NotifiedObject(settings.landing_bucket, item["Key"], item["Size"], etag) if etag else None
                yield item["Key"], found
    except (BotoCoreError, ClientError) as error:
        address = settings.s3_endpoint or "AWS S3"
        raise ServiceUnreachable(
            f"The landing bucket {settings.landing_bucket}", address, f"Check the S3 settings: {error}"
        ) from None
