"""Kafka `inventory.events` (Avro, Confluent wire format) -> `bronze.inventory_events`."""

from __future__ import annotations

from functools import lru_cache, partial, reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.contracts.declared import inventory_fields
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_EVENTS
from quality.rules import INVENTORY_RULES, Rule, broken_rules, dropped_by, hold, names_of_warnings, warnings
from streaming.bronze_writer import BronzeStream
from streaming.counts import JUDGEMENT, is_good
from streaming.framing import MAX_BYTES, contract_reasons, decode_each, ends_well, first_of
from streaming.kafka_source import kafka_origin
from streaming.projection import Plan, misfits, plan, unknown_fields, value_of
from streaming.writer_schemas import WriterSchemas


def stream(settings: Settings) -> BronzeStream:
    """The stream of stock movements."""
    return BronzeStream(
        spec=INVENTORY_EVENTS,
        topics=(settings.inventory_topic,),
        transform=partial(transform, max_bytes=settings.max_record_bytes),
        event_time="occurred_at",
        is_awaited=True,
        warning_rules=names_of_warnings(INVENTORY_RULES),
    )


def transform(raw: DataFrame, writers: WriterSchemas, max_bytes: int = MAX_BYTES) -> DataFrame:
    """Kafka rows -> the columns of `bronze.inventory_events` plus `_raw`, `_raw_key` and the `JUDGEMENT`.

    `_raw` (the message's bytes) is set only for a rejected row.
    """
    judged = reduce(DataFrame.withColumns, _stages(tuple(writers.values.items()), max_bytes, INVENTORY_RULES), raw)
    return judged.select(*INVENTORY_EVENTS.columns, "_raw", "_raw_key", *JUDGEMENT)


@lru_cache(maxsize=8)
def _stages(
    writers: tuple[tuple[int, str], ...], max_bytes: int, rules: tuple[Rule, ...]
) -> tuple[dict[str, Column], ...]:
    """What `transform` adds, one after the other: decoded, flat, judged, why, and what follows from it.

    Kept, because each node of a column is a call into the JVM: two thousand of them were half of a small batch's cost.
    """
    schemas = plan(dict(writers), inventory_fields())
    known, columns = [one for one, _ in writers], [f"value_{one}" for one in schemas.schemas]
    is_whole = ends_well(columns) & (F.length("value") <= max_bytes)
    why_not = contract_reasons(F.col("value"), known, schemas.rejected, columns, max_bytes)
    lost, is_text = _misfits(schemas), _is_text()
    is_record = reduce(Column.__and__, [one.isNull() for one in lost], is_whole & is_text)
    not_text = F.when(~is_text, F.array(F.lit("invalid_utf8")))
    of_record = F.coalesce(*lost, not_text, broken_rules(rules))
    is_rejected = F.col("_reasons").isNotNull()
    return (
        decode_each("value", schemas.schemas, "value_") | kafka_origin(known),
        _declared(schemas),
        # Apart from the reasons, which Spark then leaves out of the code that writes the good rows.
        {"_is_good": F.when(is_record, hold(rules)).otherwise(F.lit(False))},
        {
            "_reasons": F.when(~is_good(), F.when(is_whole, of_record).otherwise(why_not)),
            "_warnings": F.when(is_good(), warnings(rules)),
        },
        {
            "_raw": F.when(is_rejected, F.col("value")),
            "_raw_key": F.when(is_rejected, F.col("key")),
            "_filtered_as": F.when(~is_good() & ~is_rejected, dropped_by(rules)),
        },
    )


def _declared(schemas: Plan) -> dict[str, Column]:
    events = {one: F.col(f"value_{one}")["event"] for one in schemas.schemas}
    by_field = {
        field.name: first_of(
            [value_of(events[one], schemas.outcomes[one][number]) for one in events], field.type.simpleString()
        )
        for number, field in enumerate(inventory_fields())
    }
    unknown = [unknown_fields(events[one], schemas.outcomes[one]) for one in events]
    return by_field | {"_unknown_fields": first_of(unknown, "map<string,string>")}


def _misfits(schemas: Plan) -> list[Column]:
    """For each writer schema by which a value may not fit: the reasons of those that do not, or null."""
    events = {one: F.col(f"value_{one}")["event"] for one in schemas.schemas}
    return [found for one in events if (found := misfits(events[one], schemas.outcomes[one])) is not None]


def _is_text() -> Column:
    """Whether all texts are UTF-8; never null."""
    texts = [F.col(field.name) for field in inventory_fields() if field.type.typeName() == "string"]
    # Avro does not look into its strings, and one that is no UTF-8 would make the whole Parquet file unreadable.
    return reduce(Column.__and__, [F.coalesce(F.is_valid_utf8(text), F.lit(True)) for text in texts])
