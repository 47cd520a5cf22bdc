"""What an error of the schema registry's client means, and decoding a record or two outside of Spark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from requests.exceptions import RequestException

from lakehouse.errors import ServiceUnreachable
from lakehouse.kafka_config import registry_config
from lakehouse.settings import Settings

# Without one, the client waits for ever for a registry that takes the question and says nothing.
LIMITS = {"timeout": 10}
CURE = "See docs/runbooks/registry-down.md."


def says_there_is_none(error: Exception) -> bool:
    """Whether the registry answered that there is no such schema, subject or version."""
    # The registry's own codes are 404xx; a 404 without one comes from something in front of it, and says nothing.
    if not isinstance(error, SchemaRegistryError) or error.http_status_code != 404:
        return False
    return str(error.error_code).startswith("404")


def silence(error: Exception) -> str:
    """Why the registry gave no answer, or none that says anything about the question; empty for any other error."""
    if isinstance(error, SchemaRegistryError):
        return "" if says_there_is_none(error) else f"HTTP {error.http_status_code}"
    # The client's HTTP library raises its own family of connection errors.
    is_of_connection = isinstance(error, (OSError, RequestException))
    return type(error).__name__ if is_of_connection or type(error).__module__.startswith(("httpx", "httpcore")) else ""


def value_decoder(settings: Settings) -> Callable[[bytes | None], Any]:
    """Reads the values of Avro records; what it returns raises `ServiceUnreachable` when the registry is silent."""
    decode: Any = AvroDeserializer(SchemaRegistryClient(registry_config(settings) | LIMITS))

    def value(record: bytes | None) -> Any:
        try:
            return decode(record, None)
        except Exception as error:
            if not silence(error):
                raise
            raise ServiceUnreachable("The schema registry", settings.schema_registry_url, CURE) from error

    return value
