"""The declared fields of each source: from the Avro contract, from the captured tables, and for clicks from here."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from pyspark.sql.types import MapType, StringType, TimestampType

from lakehouse.contracts.avro_types import record_type
from lakehouse.contracts.policy import Field
from lakehouse.tables.captured import CapturedTable


@cache
def inventory_schema() -> str:
    """The Avro contract of stock movements, as JSON text."""
    return resources.files("lakehouse.contracts").joinpath("inventory_event.avsc").read_text(encoding="utf-8")


@cache
def inventory_fields() -> tuple[Field, ...]:
    """The fields of the Avro contract. One with a default may be missing; `aliases` are Avro's own."""
    about = {one["name"]: one for one in json.loads(inventory_schema())["fields"]}
    return tuple(
        Field(
            field.name,
            field.dataType,
            is_nullable=field.nullable,
            may_be_missing="default" in about[field.name],
            aliases=tuple(about[field.name].get("aliases", ())),
        )
        for field in record_type(inventory_schema())
    )


def captured_fields(table: CapturedTable) -> tuple[Field, ...]:
    """The columns of a captured table."""
    return tuple(
        Field(
            column.name,
            column.dataType,
            may_be_missing=column.name in table.may_be_missing,
            aliases=tuple(old for old, name in table.old_names.items() if name == column.name),
        )
        for column in table.columns
    )


CLICK_FIELDS = (
    Field("event_id", StringType(), is_nullable=False),
    Field("user_id", StringType(), may_be_missing=True),
    Field("session_id", StringType(), may_be_missing=True),
    Field("event_type", StringType(), is_nullable=False),
    Field("page_url", StringType(), may_be_missing=True),
    Field("timestamp", TimestampType(), is_nullable=False),
    Field("properties", MapType(StringType(), StringType()), may_be_missing=True),
)
"""JSON knows no schema: a line is held against these itself. A visitor who is not signed in has no user_id, and one
whose browser keeps nothing has no session_id: batch/sessions.py ties such clicks by user and time."""
