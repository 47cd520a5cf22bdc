"""Bronze: what arrived, append only, with its origin."""

from __future__ import annotations

from lakehouse.tables.columns import columns
from lakehouse.tables.spec import TableSpec

# Statistics cost time in every small commit; the first columns are the ones that readers filter by.
APPEND_ONLY = {
    "delta.appendOnly": "true",
    "delta.checkpointInterval": "50",
    "delta.dataSkippingNumIndexedCols": "12",
}
KAFKA_ORIGIN = (
    "_topic string, _partition int, _offset bigint, _kafka_at timestamp, _schema_id int, "
    "_ingested_at timestamp, _batch_id bigint"
)
# Both are null for nearly all rows: fields that are not declared, and rules that only warn.
WITH_DOUBTS = "_unknown_fields map<string,string>, _warnings array<string>"
# When the row came back from the quarantine; null for a row that a batch brought. A reader of what is new asks for this
# besides the offsets, which are the original's: so every table keeps statistics on it.
REPLAYED = "_replayed_at timestamp"

INVENTORY_EVENTS = TableSpec(
    name="bronze.inventory_events",
    schema=columns(
        "event_id string, sku string, warehouse_id string, movement string, quantity_delta int, on_hand int, "
        f"sequence bigint, occurred_at timestamp, {KAFKA_ORIGIN}, {WITH_DOUBTS}, {REPLAYED}"
    ),
    keys=("_topic", "_partition", "_offset"),
    comment="Stock movements as they were published to Kafka.",
    # Text costs most, and nobody looks for an event by its id in a file's statistics.
    properties=APPEND_ONLY
    | {
        "delta.dataSkippingStatsColumns": "_partition,_offset,occurred_at,_ingested_at,_replayed_at",
        # Somebody waits for its rows, so there is a commit a second; and each checkpoint names all files again.
        "delta.checkpointInterval": "500",
    },
)

CLICK_EVENTS = TableSpec(
    name="bronze.click_events",
    schema=columns(
        "event_id string, user_id string, session_id string, event_type string, page_url string, timestamp timestamp, "
        "properties map<string,string>, product_id string, event_date date, event_hour int, "
        "_unknown_fields map<string,string>, _source_file string, _source_line bigint, _etag string, "
        # Where the object was announced: the same positions as in every other Bronze table.
        "_topic string, _partition int, _offset bigint, _kafka_at timestamp, _ingested_at timestamp, _batch_id bigint, "
        f"_warnings array<string>, {REPLAYED}"
    ),
    keys=("_source_file", "_source_line"),
    comment="Click events as they were written to the bucket; undeclared fields are kept in _unknown_fields.",
    partition_by=("event_date",),
    properties=APPEND_ONLY
    | {"delta.dataSkippingStatsColumns": "timestamp,_source_file,_offset,_ingested_at,_replayed_at"},
)

SOURCE_MARKERS = TableSpec(
    name="bronze.source_markers",
    schema=columns(
        "kind string, transaction_id string, event_count bigint, "
        "data_collections array<struct<data_collection:string,event_count:bigint>>, marked_at timestamp, "
        f"source_incarnation string, _key binary, _value binary, {KAFKA_ORIGIN}, {REPLAYED}"
    ),
    keys=("_topic", "_partition", "_offset"),
    comment="Debezium's transaction markers (BEGIN, END with the number of events per table) and its heartbeats.",
    properties=APPEND_ONLY
    | {"delta.dataSkippingStatsColumns": "_partition,_offset,marked_at,_ingested_at,_replayed_at"},
)
