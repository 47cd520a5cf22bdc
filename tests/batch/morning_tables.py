"""Builds the Delta tables that a morning report reads: small, seeded, written without Spark."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from lakehouse.settings import Settings

DAY = date(2026, 11, 22)
RUN = "manual__2026-11-23T06:00:00+00:00"
STREAMS = ("orders_changes", "customers_changes", "products_changes", "inventory_events", "click_events")
CATEGORIES = {"Desks": 0.41, "Chairs": 0.33, "Lamps": 0.52, "Storage": 0.24, "Textiles": 0.47, "Clearance": -0.06}
REGIONS = {"North": 1.3, "South": 0.9, "East": 0.7, "West": 1.0, "Unknown": 0.2}
SEGMENTS = {"Champions": 180, "Loyal": 340, "Promising": 410, "New": 260, "At risk": 300, "Lost": 520}


def at(day: date, hour: int = 6, minute: int = 0) -> datetime:
    """A moment in UTC."""
    return datetime.combine(day, time(hour, minute), UTC)


def money(value: float) -> Decimal:
    return Decimal(f"{value:.2f}")


def write(settings: Settings, name: str, rows: Sequence[dict[str, Any]], schema: pa.Schema | None = None) -> None:
    """Replace the table `layer/table` by these rows."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    path = f"{settings.warehouse}/{name}"
    write_deltalake(path, table, mode="overwrite", schema_mode="overwrite")


def daily_sales(day: date, days: int, seed: int = 7) -> list[dict[str, Any]]:
    """`gold.agg_daily_sales` for the days up to `day`: a weekly rhythm, growth, a little noise."""
    chance, rows = random.Random(seed), []
    for back in range(days):
        on = day - timedelta(days=back)
        size = 900 * (1 + 0.35 * math.sin(2 * math.pi * (on.weekday() + 1) / 7)) * (1 + 0.004 * (days - back))
        for category, margin in CATEGORIES.items():
            for region, weight in REGIONS.items():
                revenue = size * weight * chance.uniform(0.6, 1.4) / 3
                orders = max(1, round(revenue / 48))
                profit = revenue * (margin + chance.uniform(-0.02, 0.02))
                rows.append(
                    {
                        "order_date": on,
                        "category": category,
                        "region": region,
                        "segment": "Loyal",
                        "orders": orders,
                        "customers": orders,
                        "quantity": 2 * orders,
                        "revenue": money(revenue),
                        "average_order_value": money(revenue / orders),
                        "cost": money(revenue - profit),
                        "profit": money(profit),
                        "costed_revenue": money(revenue),
                        "margin": money(profit / revenue),
                    }
                )
    return rows


def funnel(day: date, days: int, seed: int = 7) -> list[dict[str, Any]]:
    """`gold.daily_funnel` for the days up to `day`."""
    chance, rows = random.Random(seed), []
    for back in range(days):
        sessions = chance.randint(4200, 5200)
        steps = [sessions]
        for part in (0.78, 0.31, 0.58, 0.71):
            steps.append(round(steps[-1] * part * chance.uniform(0.95, 1.05)))
        rows.append(
            {
                "event_date": day - timedelta(days=back),
                "sessions": steps[0],
                "view_sessions": steps[1],
                "cart_sessions": steps[2],
                "checkout_sessions": steps[3],
                "purchase_sessions": steps[4],
                "view_to_cart_rate": steps[2] / steps[1],
                "cart_to_checkout_rate": steps[3] / steps[2],
                "checkout_to_purchase_rate": steps[4] / steps[3],
                "conversion_rate": steps[4] / steps[0],
            }
        )
    return rows


def customers(day: date, seed: int = 7) -> list[dict[str, Any]]:
    """`gold.customer_segments`: worth more in the better segments."""
    chance = random.Random(seed)
    sizes = [(name, size // 10) for name, size in SEGMENTS.items()]
    return [
        {
            "customer_id": 1000 * place + number,
            "as_of_date": day,
            "segment": name,
            "monetary": money(chance.uniform(100, 600) / (place + 1)),
            "recency_days": 10 * place + number % 9,
        }
        for place, (name, size) in enumerate(sizes)
        for number in range(size)
    ]


def stock(names: Sequence[str], day: date, seed: int = 7) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """`gold.reorder_points` and `gold.dim_products`; every product is below its reorder point but the last one."""
    chance = random.Random(seed)
    points, products = [], []
    for number, name in enumerate(names):
        sku, demand = f"SKU-{number:04}", chance.uniform(0.5, 9)
        is_last = number == len(names) - 1
        points.append(
            {
                "sku": sku,
                "warehouse_id": chance.choice(["LDN-1", "MAN-2", "GLA-1"]),
                "as_of_date": day,
                "daily_demand": demand,
                "demand_stddev": 1.0,
                "lead_time_days": 7,
                "safety_stock": 5,
                "reorder_point": 60,
                "on_hand": 500 if is_last else chance.randint(-2, 55),
                "suggested_quantity": 0 if is_last else chance.randint(20, 140),
            }
        )
        products.append({"product_id": sku, "product_name": name, "is_deleted": False})
    return points, products


def publish(
    settings: Settings, day: date = DAY, days: int = 12, names: Sequence[str] = ("Walnut desk", "Lamp")
) -> None:
    """Write and publish the Gold tables for `day`."""
    points, products = stock(names, day)
    gold = {
        "agg_daily_sales": daily_sales(day, days),
        "daily_funnel": funnel(day, days),
        "customer_segments": customers(day),
        "reorder_points": points,
        "dim_products": products,
    }
    for name, rows in gold.items():
        write(settings, f"gold/{name}", rows)
    record_publication(settings, day, list(gold))


def record_publication(settings: Settings, day: date, tables: Sequence[str], version: int = 0) -> None:
    """`ops.publications` with one publication."""
    rows = [
        {
            "run_id": RUN,
            "business_date": day,
            "table_name": f"gold.{name}",
            "candidate_version": 0,
            "published_version": version,
            "row_count": 1,
            "published_at": at(day + timedelta(days=1), 6, 12),
        }
        for name in tables
    ]
    write(settings, "ops/publications", rows)


def record_night(settings: Settings, day: date = DAY, failed: str = "", message: str = "") -> None:
    """`ops.runs` of one night; `failed` names the step in which it ended."""
    rows = []
    for number, step in enumerate(("bronze", "silver", "gold")):
        start = at(day + timedelta(days=1), 6, 3 * number)
        rows.append(
            {
                "run_id": RUN,
                "business_date": day,
                "step": step,
                "status": "failed" if step == failed else "succeeded",
                "started_at": start,
                "ended_at": start + timedelta(seconds=41 + 63 * number),
                "duration_seconds": 41.3 + 63 * number,
                "rows_processed": 120_034 - 900 * number,
                "message": message if step == failed else "",
            }
        )
        if step == failed:
            break
    write(settings, "ops/runs", rows)


def record_ledger(settings: Settings, day: date = DAY, lost: int = 0) -> None:
    """`ops.ledger`: ten batches per stream; `lost` rows are missing in the first one."""
    rows = [
        {
            "stream": stream,
            "kind": "batch",
            "query_id": "q",
            "batch_id": batch,
            "rows_promised": 1000,
            "rows_read": 1000,
            "rows_written": 980 - (lost if batch == 0 and stream == STREAMS[0] else 0),
            "rows_quarantined": 15,
            "filtered": [("tombstone", 5)],
            "last_event_at": at(day, 23, 40 + batch) + timedelta(seconds=7 * place),
            "committed_at": at(day, 23, 41 + batch),
        }
        for place, stream in enumerate(STREAMS)
        for batch in range(10)
    ]
    types = pa.schema(
        [
            ("stream", pa.string()),
            ("kind", pa.string()),
            ("query_id", pa.string()),
            ("batch_id", pa.int64()),
            ("rows_promised", pa.int64()),
            ("rows_read", pa.int64()),
            ("rows_written", pa.int64()),
            ("rows_quarantined", pa.int64()),
            ("filtered", pa.map_(pa.string(), pa.int64())),
            ("last_event_at", pa.timestamp("us", "UTC")),
            ("committed_at", pa.timestamp("us", "UTC")),
        ]
    )
    write(settings, "ops/ledger", rows, types)


def record_quarantine(settings: Settings, reasons: dict[str, dict[str, int]]) -> None:
    """`ops.quarantine/<stream>`: stream -> reason -> rows."""
    for stream, counts in reasons.items():
        rows = [
            {"stream": stream, "reasons": [reason], "status": "open", "_ingested_at": at(DAY, 12)}
            for reason, count in counts.items()
            for _ in range(count)
        ]
        write(settings, f"ops/quarantine/{stream}", rows)


def record_quality(settings: Settings, day: date = DAY, nights: int = 14) -> None:
    """`ops.quality_scores` with some history, and the failed checks of the newest night."""
    scores: list[dict[str, Any]] = []
    for back in range(nights):
        on, newest = day - timedelta(days=back), back == 0
        base = {"run_id": f"r{back}", "business_date": on, "scored_at": at(on + timedelta(days=1))}
        low = 96.0 if newest else 97.0 + back % 4
        for table in ("silver.orders", "silver.customers", "gold.fct_orders"):
            for dimension in ("completeness", "validity", "uniqueness"):
                lossy = newest and table == "silver.orders" and dimension == "validity"
                lost = [{"check_name": "expect_quantity_between", "points": 4.0}] if lossy else []
                score = {"score": 96.0 if lossy else 100.0, "points_lost_by": lost}
                detail = {"table_name": table, "dimension": dimension, "checks_run": 4, "checks_failed": int(lossy)}
                scores.append(base | score | detail)
        total = {"table_name": "all", "dimension": "all", "score": low, "checks_run": 36, "checks_failed": 1}
        largest = [{"check_name": "silver.orders: expect_quantity_between", "points": 100 - low}]
        scores.append(base | total | {"points_lost_by": largest if newest else []})
    lost_type = pa.list_(pa.struct([("check_name", pa.string()), ("points", pa.float64())]))
    inferred = pa.Table.from_pylist([row | {"points_lost_by": None} for row in scores]).schema
    place = inferred.get_field_index("points_lost_by")
    write(settings, "ops/quality_scores", scores, inferred.set(place, pa.field("points_lost_by", lost_type)))
    result = {
        "run_id": "r0",
        "business_date": day,
        "layer": "silver",
        "table_name": "silver.orders",
        "dimension": "validity",
        "check_name": "expect_quantity_between",
        "column_name": "quantity",
        "is_success": False,
        "rows_checked": 12_000,
        "rows_failed": 321,
        "observed": "321 of 12,000 rows outside",
        "expected": "1 to 100",
        "is_blocking": False,
        "checked_at": at(day + timedelta(days=1)),
    }
    passed = result | {"is_success": True, "check_name": "expect_key_unique", "column_name": "order_id"}
    write(settings, "ops/quality_results", [result, passed])


def read(settings: Settings, name: str) -> list[dict[str, Any]]:
    """All rows of the table `layer/table`."""
    rows: list[dict[str, Any]] = DeltaTable(f"{settings.warehouse}/{name}").to_pyarrow_table().to_pylist()
    return rows


def empty(settings: Settings, name: str) -> None:
    """Replace the table `layer/table` by no rows, with the same columns."""
    schema = DeltaTable(f"{settings.warehouse}/{name}").to_pyarrow_dataset().schema
    write(settings, name, [], schema)
