"""Silver tables that do not come from Postgres (those are in captured.py)."""

from __future__ import annotations

from lakehouse.tables.columns import columns
from lakehouse.tables.spec import TableSpec

INVENTORY_LEVELS = TableSpec(
    name="silver.inventory_levels",
    schema=columns(
        "sku string, warehouse_id string, on_hand int, sequence bigint, occurred_at timestamp, is_negative boolean, "
        "_offset bigint, _merged_at timestamp"
    ),
    keys=("sku", "warehouse_id"),
    comment="Newest stock level per product and warehouse, by sequence.",
)

CLICKS = TableSpec(
    name="silver.clicks",
    schema=columns(
        "event_id string, user_id string, session_id string, event_type string, page_url string, event_at timestamp, "
        "product_id string, event_date date, properties map<string,string>, _source_file string, _source_line bigint, "
        "_merged_at timestamp"
    ),
    keys=("event_id",),
    comment="The first occurrence of each click event; event_date is the business day.",
    partition_by=("event_date",),
)
