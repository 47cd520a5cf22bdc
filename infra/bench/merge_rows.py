"""Made-up orders and their changes, for the bench of merges."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.tables import ORDERS, CapturedTable

TOPIC = "bench"


def orders(ids: DataFrame, seed: Column, *others: str) -> DataFrame:
    """Rows of orders, one for each `order_id`; `seed` makes them others. `others`: columns to keep beside them."""
    number = F.col("order_id") + seed
    values = {
        "customer_id": number % 100_003,
        "product_id": F.concat(F.lit("P"), (number % 997).cast("string")),
        "order_date": F.date_add(F.lit("2020-01-01").cast("date"), (F.col("order_id") % 2000).cast("int")),
        "quantity": (number % 9 + 1),
        "amount": (number % 100_000) / 100,
        "status": F.element_at(F.array(*map(F.lit, ("pending", "shipped", "delivered"))), (number % 3 + 1).cast("int")),
        "updated_at": F.timestamp_seconds(F.lit(1_700_000_000) + number),
    }
    filled = ids.withColumns({name: value.cast(ORDERS.columns[name].dataType) for name, value in values.items()})
    return filled.select(*others, *ORDERS.columns.names)


def bronze(given: DataFrame, table: CapturedTable) -> DataFrame:
    """`orders` with `op` and `lsn` -> rows of `bronze.<table>_changes`; the offset is the LSN less one."""
    row = F.struct(*ORDERS.columns.names)
    known = {
        "key": F.struct("order_id"),
        "op": F.col("op"),
        "after": F.when(F.col("op") != "d", row),
        "lsn": F.col("lsn"),
        "source_at": F.col("updated_at"),
        "_topic": F.lit(TOPIC),
        "_partition": F.lit(0),
        "_offset": F.col("lsn") - 1,
        "_ingested_at": F.current_timestamp(),
    }
    columns = [known.get(one.name, F.lit(None)).cast(one.dataType).alias(one.name) for one in table.changes.schema]
    return given.select(*columns)
