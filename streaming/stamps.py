"""When and by what a row came to Bronze: set on the raw frame, so that a `transform` needs no clock."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def stamped(raw: DataFrame, ingested_at: Column, batch: Column, replayed_at: Column | None = None) -> DataFrame:
    """Add `_ingested_at` (UTC), `_batch_id`, and `_replayed_at`: null unless the row comes from the quarantine."""
    never = F.lit(None)
    return raw.withColumns(
        {
            "_ingested_at": ingested_at,
            "_batch_id": batch.cast("bigint"),
            "_replayed_at": (never if replayed_at is None else replayed_at).cast("timestamp"),
        }
    )


def in_all_rows(raw: DataFrame, value: Column) -> Column:
    """A constant that differs from batch to batch, as a column of Kafka rows or of lines.

    Compiled code holds a number as text, and a list by reference. As a plain constant it would give each batch code of
    its own, which is compiled and warmed up anew: that cost more than decoding the rows.
    """
    offset = "offset" if "offset" in raw.columns else "_offset"
    first = (F.col(offset) < 0).cast("int")  # 0, which the optimizer does not know
    return F.get(F.array(value), first)


def moment_of(milliseconds: Column) -> Column:
    """Milliseconds since 1970 as a moment; null where they name no year from 1 to 9999."""
    # Outside of it Spark raises, or gives a moment that Python can't hold: one such record would end each batch.
    return F.when(milliseconds.between(-62_135_596_800_000, 253_402_300_799_999), F.timestamp_millis(milliseconds))
