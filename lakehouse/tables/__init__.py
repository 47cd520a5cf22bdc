"""Every declared table, findable by its name. Gold is declared by dbt (dbt/models/marts/*.yml)."""

from lakehouse.tables.bronze import CLICK_EVENTS, INVENTORY_EVENTS, SOURCE_MARKERS
from lakehouse.tables.captured import CAPTURED, CUSTOMERS, HEARTBEATS, ORDERS, PRODUCTS, CapturedTable
from lakehouse.tables.ops import (
    ALERTS,
    CLICK_OBJECTS,
    CUTS,
    INCARNATIONS,
    LEDGER,
    PUBLICATIONS,
    QUALITY_RESULTS,
    QUALITY_SCORES,
    RECONCILIATIONS,
    REPAIRS,
    RUNS,
    SOURCE_GAPS,
    VERIFIED,
    quarantine_of,
    quarantine_outcomes_of,
)
from lakehouse.tables.silver import CLICK_KEYS, CLICKS, INVENTORY_LEVELS, SESSIONS
from lakehouse.tables.spec import TableSpec

MARTS = (
    "dim_customers",
    "dim_products",
    "fct_orders",
    "agg_daily_sales",
    "customer_segments",
    "daily_funnel",
    "reorder_points",
)
"""Gold tables in the order in which readers are moved."""

BRONZE = (INVENTORY_EVENTS, CLICK_EVENTS, SOURCE_MARKERS, *(table.changes for table in CAPTURED))
STREAMS = tuple(spec.table for spec in BRONZE)
"""Each Bronze table has one stream, named like it."""
SILVER_CAPTURED = tuple(table for table in CAPTURED if table.has_silver)
SILVER = (
    *(spec for table in SILVER_CAPTURED for spec in table.merged),
    *(CLICKS, CLICK_KEYS, SESSIONS, INVENTORY_LEVELS),
)
UNMERGED = tuple(table.rejects for table in SILVER_CAPTURED)
"""Names in the quarantine of what no merge could place."""

__all__ = [
    "ALERTS",
    "BRONZE",
    "CAPTURED",
    "CLICKS",
    "CLICK_EVENTS",
    "CLICK_KEYS",
    "CLICK_OBJECTS",
    "CUSTOMERS",
    "CUTS",
    "HEARTBEATS",
    "INCARNATIONS",
    "INVENTORY_EVENTS",
    "INVENTORY_LEVELS",
    "LEDGER",
    "MARTS",
    "ORDERS",
    "PRODUCTS",
    "PUBLICATIONS",
    "QUALITY_RESULTS",
    "QUALITY_SCORES",
    "RECONCILIATIONS",
    "REPAIRS",
    "RUNS",
    "SESSIONS",
    "SILVER",
    "SILVER_CAPTURED",
    "SOURCE_GAPS",
    "SOURCE_MARKERS",
    "STREAMS",
    "UNMERGED",
    "VERIFIED",
    "CapturedTable",
    "TableSpec",
    "quarantine_of",
    "quarantine_outcomes_of",
]
