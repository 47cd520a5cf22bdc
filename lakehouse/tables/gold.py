"""What our own code reads of Gold. Gold is declared by dbt (dbt/models/marts/*.yml); these are contracts of single
columns.
"""

from __future__ import annotations

from lakehouse.tables.columns import columns
from lakehouse.tables.spec import TableSpec

REORDER_POINTS = TableSpec(
    name="gold.reorder_points",
    schema=columns("sku string, warehouse_id string, reorder_point int"),
    keys=("sku", "warehouse_id"),
    comment="Thresholds of the low-stock query (the columns that it reads).",
)
