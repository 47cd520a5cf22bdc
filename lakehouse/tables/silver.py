"""Silver tables that do not come from Postgres (those are in captured.py)."""

from __future__ import annotations

from lakehouse.tables.columns import columns
from lakehouse.tables.spec import TableSpec

INVENTORY_LEVELS = TableSpec(
    name="silver.inventory_levels",
    schema=columns(
        "sku string, warehouse_id string, on_hand int, sequence bigint, occurred_at timestamp, is_negative boolean, "
        "missing_sequences bigint, is_sequence_suspect boolean, _offset bigint, _merged_at timestamp, "
        # What was seen of the sequence, lowest first, and what was given up to keep that short.
        "_seen array<struct<from_sequence:bigint,to_sequence:bigint>>, _given_up bigint, _latest_at timestamp"
    ),
    keys=("sku", "warehouse_id"),
    comment="Newest stock level per product and warehouse, by sequence, and what is missing of the sequence.",
)

CLICKS = TableSpec(
    name="silver.clicks",
    schema=columns(
        "event_id string, user_id string, session_id string, event_type string, page_url string, event_at timestamp, "
        "product_id string, event_date date, properties map<string,string>, _source_file string, _source_line bigint, "
        "_merged_at timestamp, _etag string"
    ),
    keys=("event_id",),
    comment="The first occurrence of each click event; event_date is the business day.",
    partition_by=("event_date",),
    # Sessions take from the feed which clicks came, moved or left.
    properties={"delta.enableChangeDataFeed": "true"},
)

CLICK_KEYS = TableSpec(
    name="silver.click_keys",
    schema=columns("key_hash bigint, event_date date"),
    keys=("key_hash", "event_date"),
    comment="In which partition of silver.clicks an event id may be: all that are there, and a few that are not.",
    properties={"delta.autoOptimize.autoCompact": "true"},
)

SESSIONS = TableSpec(
    name="silver.sessions",
    schema=columns(
        "session_id string, user_id string, is_inferred boolean, started_at timestamp, ended_at timestamp, "
        "duration_seconds bigint, event_date date, events bigint, page_views bigint, product_views bigint, "
        "add_to_carts bigint, checkouts bigint, purchases bigint, has_view boolean, has_cart boolean, "
        "has_checkout boolean, has_purchase boolean, funnel_steps_in_order int, first_page_url string, "
        "product_ids array<string>, _visitor string, _merged_at timestamp"
    ),
    keys=("_visitor", "session_id"),
    comment="Visits: the clicks of a session id; without one, of a user without a pause of 30 minutes.",
    partition_by=("event_date",),
)
