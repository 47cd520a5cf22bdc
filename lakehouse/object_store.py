"""The S3-compatible store of the settings, and the only client of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from lakehouse.settings import Settings

TRIES = 3


@dataclass(frozen=True)
class Store:
    """How a process reaches the store; both keys empty: the SDK's default chain."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        # It travels to the workers, and errors print what they hold.
        return f"Store({self.address})"

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        return self.endpoint or "AWS S3"


def store_of(settings: Settings) -> Store:
    """The store of the settings."""
    access, secret = settings.s3_access_key.get_secret_value(), settings.s3_secret_key.get_secret_value()
    return Store(settings.s3_endpoint, settings.s3_region, access, secret)


@cache
def client_of(store: Store, answer_seconds: float = 30) -> Any:
    """A boto3 client, once per process: making one costs as much as reading a hundred small objects."""
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint or None,
        region_name=store.region,
        aws_access_key_id=store.access_key or None,
        aws_secret_access_key=store.secret_key or None,
        config=Config(
            connect_timeout=5,
            read_timeout=answer_seconds,
            retries={"max_attempts": TRIES, "mode": "standard"},
            s3={"addressing_style": "path" if store.endpoint else "auto"},
            # S3-compatible servers differ in which of the newer checksum headers they accept.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def s3_client(settings: Settings) -> Any:
    """The client of the settings' store."""
    return client_of(store_of(settings))
