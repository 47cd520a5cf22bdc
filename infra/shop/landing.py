"""The landing bucket: each object is put whole, with the account in step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.shop.bookkeeping import AccountBook
from infra.shop.business_time import iso_utc
from infra.shop.clickstream import ClickObject, key_time
from lakehouse.errors import ServiceUnreachable
from lakehouse.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


class Landing:
    """Puts click objects below the landing prefix."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.landing_bucket
        self._prefix = settings.landing_prefix
        self._address = settings.s3_endpoint or "AWS S3"
        self._client = _client(settings)
        try:
            self._make_bucket()
        except (BotoCoreError, ClientError) as error:
            raise ServiceUnreachable(
                "S3", self._address, f"Run `lakehouse up` first ({type(error).__name__})."
            ) from None

    def put(self, made: ClickObject, book: AccountBook) -> None:
        """Put one object: intent, put, outcome. Raises `ServiceUnreachable`; the intent then stays open."""
        entry = book.intend(
            "s3",
            key=made.key,
            lines=made.lines,
            good=made.good,
            repeats=made.repeats,
            with_unknown_fields=made.with_unknown_fields,
            bad=made.bad,
            until=["clicks", iso_utc(key_time(made.key, self._prefix))],
        )
        try:
            self._client.put_object(Bucket=self._bucket, Key=made.key, Body=made.body)
        except (BotoCoreError, ClientError) as error:
            cure = f"Run the shop again when it is back ({type(error).__name__})."
            raise ServiceUnreachable("S3", self._address, cure) from None
        book.confirm(entry)

    def object_exists(self, key: str) -> bool:
        """Whether the object is in the bucket."""
        try:
            self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return True

    def _make_bucket(self) -> None:
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            self._client.create_bucket(Bucket=self._bucket)


def _client(settings: Settings) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint or None,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value() or None,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value() or None,
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"max_attempts": 3, "mode": "standard"},
            s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
            # S3-compatible servers differ in which of the newer checksum headers they accept.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
