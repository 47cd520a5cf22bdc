"""What the low-stock query takes of a batch."""

from __future__ import annotations

from kafka_rows import frame_of, framed, stock_event
from pyspark.sql import SparkSession

from lakehouse.contracts.declared import inventory_schema
from streaming.low_stock import good_events
from streaming.writer_schemas import WriterSchemas

KNOWN = WriterSchemas(values={7: inventory_schema()})


def test_good_events_are_decoded_once_and_messages_of_unknown_schemas_are_counted(spark: SparkSession) -> None:
    good = framed(inventory_schema(), stock_event())
    rows = frame_of(spark, [good, good[:-1], b"\x00\x00\x00\x00\x63" + good[5:]])
    frame, counts = good_events(rows.drop("_ingested_at", "_batch_id"), KNOWN, 1_000_000)
    assert [row["sku"] for row in frame.collect()] == [stock_event()["sku"]]
    assert (counts().read, counts().good, counts().unknown_schema) == (3, 1, 1)
    assert frame._jdf.queryExecution().optimizedPlan().toString().count("from_avro") == 1
