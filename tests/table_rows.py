"""Rows of every layer for tests: a row that is in order, of which a test changes what matters."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

DBT_MARTS = Path(__file__).parents[1] / "dbt" / "models" / "marts"
AT = datetime(2026, 11, 23, 9, 0, 0)  # as Spark takes it: wall clock of the session zone
DAY = date(2026, 11, 23)
INCARNATION = "7400000000000000000:1"

ORDER = {
    "order_id": 1,
    "customer_id": 7,
    "product_id": "HOM-001",
    "order_date": DAY,
    "quantity": 2,
    "amount": Decimal("19.90"),
    "status": "shipped",
    "updated_at": AT,
}
CUSTOMER = {
    "customer_id": 7,
    "customer_name": "Ada Example",
    "email": "ada@example.com",
    "region": "North",
    "created_at": AT,
    "updated_at": AT,
}
PRODUCT = {
    "product_id": "HOM-001",
    "product_name": "Lamp",
    "category": "Home",
    "description": "A lamp",
    "unit_cost": Decimal("4.00"),
    "unit_price": Decimal("9.95"),
    "updated_at": AT,
}
IN_ORDER: dict[str, dict[str, Any]] = {
    "silver.orders": ORDER | {"_source_at": AT},
    "silver.customers": CUSTOMER,
    "silver.products": PRODUCT,
    "silver.inventory_levels": {
        "sku": "HOM-001",
        "warehouse_id": "W1",
        "on_hand": 5,
        "sequence": 3,
        "is_negative": False,
        "missing_sequences": 0,
        "is_sequence_suspect": False,
    },
    "silver.clicks": {
        "event_id": "e1",
        "user_id": "u1",
        "session_id": "s1",
        "event_type": "page_view",
        "event_at": AT,
        "event_date": DAY,
    },
    "silver.sessions": {
        "session_id": "s1",
        "_visitor": "session:s1",
        "started_at": AT,
        "ended_at": AT,
        "duration_seconds": 0,
        "event_date": DAY,
        "events": 1,
        "has_view": True,
        "has_cart": False,
        "has_checkout": False,
        "has_purchase": False,
    },
    "bronze.inventory_events": {
        "event_id": "e1",
        "sku": "HOM-001",
        "warehouse_id": "W1",
        "movement": "sale",
        "on_hand": 5,
        "sequence": 3,
        "occurred_at": AT,
        "_topic": "inventory.events",
        "_partition": 0,
        "_offset": 0,
        "_ingested_at": AT,
    },
    "bronze.click_events": {
        "event_id": "e1",
        "session_id": "s1",
        "event_type": "page_view",
        "timestamp": AT,
        "_source_file": "clicks/a.jsonl",
        "_source_line": 1,
        "_ingested_at": AT,
    },
    "candidate.fct_orders": {
        "order_id": 1,
        "customer_id": 7,
        "product_id": "HOM-001",
        "order_date": DAY,
        "status": "shipped",
        "line_type": "sale",
        "is_revenue": True,
        "quantity": 2,
        "amount": Decimal("19.90"),
        "unit_cost": Decimal("4.00"),
        "cost": Decimal("8.00"),
        "profit": Decimal("11.90"),
        "updated_at": AT,
    },
    "candidate.dim_customers": {
        "customer_id": 7,
        "customer_name": "Ada Example",
        "region": "North",
        "is_deleted": False,
        "is_anonymous": False,
        "is_unknown": False,
    },
    "candidate.dim_products": {"product_id": "HOM-001", "category": "Home", "is_fee": False, "is_unknown": False},
    "candidate.agg_daily_sales": {
        "order_date": DAY,
        "category": "Home",
        "region": "North",
        "segment": "Loyal",
        "orders": 2,
        "customers": 1,
        "quantity": 3,
        "revenue": Decimal("30.00"),
        "average_order_value": Decimal("15.00"),
    },
}


def change(op: str, offset: int, key: dict[str, Any], after: dict[str, Any] | None, **values: Any) -> dict[str, Any]:
    """One row of a Bronze change table."""
    return {
        "key": key,
        "op": op,
        "after": after,
        "lsn": offset,
        "source_at": AT,
        "source_incarnation": INCARNATION,
        "_topic": "shop.public.any",
        "_partition": 0,
        "_offset": offset,
        "_ingested_at": AT,
    } | values


def row(table: str, **values: Any) -> dict[str, Any]:
    """A row of `table` that is in order but for `values`."""
    return IN_ORDER[table] | values


def frame(spark: SparkSession, schema: StructType, rows: list[dict[str, Any]]) -> DataFrame:
    """The rows with all columns of `schema`; what a row leaves out is null."""
    empty = dict.fromkeys(schema.fieldNames())
    return spark.createDataFrame([tuple((empty | one).values()) for one in rows], schema)


def mart_schema(mart: str) -> StructType:
    """The columns that dbt declares for a mart."""
    files = [yaml.safe_load(path.read_text("utf-8")) for path in DBT_MARTS.glob("*.yml")]
    columns = next(model["columns"] for one in files for model in one["models"] if model["name"] == mart)
    return StructType.fromDDL(", ".join(f"{column['name']} {column['data_type']}" for column in columns))


def forget_catalog(spark: SparkSession) -> None:
    # What a new driver starts with: an empty catalog beside the tables of the last night.
    for layer in ("candidate", "silver"):
        spark.sql(f"drop schema if exists {layer} cascade")
