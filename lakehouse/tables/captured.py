"""The Postgres tables that Debezium captures. One `CapturedTable` gives the Bronze, Silver and deleted-rows tables.

A new captured table costs one constant here, its topic in infra/kafka/topics.yaml and its name in the connector's list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark.sql.types import StringType, StructField, StructType

from lakehouse.settings import Settings
from lakehouse.tables.bronze import APPEND_ONLY, KAFKA_ORIGIN, REPLAYED, WITH_DOUBTS
from lakehouse.tables.columns import columns
from lakehouse.tables.spec import TableSpec

POSITION = "_lsn bigint, _transaction_order bigint, _offset bigint, _source_at timestamp, _merged_at timestamp"


@dataclass(frozen=True)
class CapturedTable:
    """A table of the source: its `columns` by their Spark types, and its primary `keys`."""

    name: str
    columns: StructType
    keys: tuple[str, ...]
    has_silver: bool = True
    may_be_missing: tuple[str, ...] = ()
    """Columns that a change may lack (added after the first changes, or dropped in the source): null by declaration."""
    old_names: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The source's other name of a column -> its declared name (it was renamed there)."""

    def topic(self, settings: Settings) -> str:
        """The change topic that Debezium writes for the table."""
        return f"{settings.source_topic_prefix}.public.{self.name}"

    @property
    def key_type(self) -> StructType:
        """The key columns alone, as a struct."""
        return StructType([self.columns[key] for key in self.keys])

    @property
    def changes(self) -> TableSpec:
        """`bronze.<name>_changes`: one row per change event."""
        head = StructType(
            [
                StructField("key", self.key_type),
                StructField("op", StringType()),
                StructField("before", self.columns),
                StructField("after", self.columns),
            ]
        )
        source = columns(
            "lsn bigint, commit_lsn bigint, sequence string, transaction_id string, transaction_order bigint, "
            "collection_order bigint, snapshot string, source_at timestamp, source_incarnation string, _key binary, "
            + f"{KAFKA_ORIGIN}, {WITH_DOUBTS}, {REPLAYED}"
        )
        return TableSpec(
            name=f"bronze.{self.name}_changes",
            schema=StructType(head.fields + source.fields),
            keys=("_topic", "_partition", "_offset"),
            comment=f"Changes of {self.name} in Postgres as Debezium sent them.",
            properties=APPEND_ONLY | {"delta.dataSkippingNumIndexedCols": "40"},
        )

    @property
    def silver(self) -> TableSpec:
        """`silver.<name>`: the present state, the source's columns and the position of the change that made each
        row.
        """
        return TableSpec(
            name=f"silver.{self.name}",
            schema=StructType(self.columns.fields + columns(POSITION).fields),
            keys=self.keys,
            comment=f"Present state of {self.name}; equals Postgres row for row.",
        )

    @property
    def deleted(self) -> TableSpec:
        """`silver.<name>_deleted`: rows that were deleted, so that an old update can't revive one."""
        live = self.silver
        return TableSpec(
            name=f"{live.name}_deleted",
            schema=StructType(live.schema.fields + columns("_deleted_at timestamp").fields),
            keys=self.keys,
            comment=f"Deleted rows of {self.name}: last known values, and the position of the delete.",
        )


ORDERS = CapturedTable(
    name="orders",
    columns=columns(
        "order_id bigint, customer_id bigint, product_id string, order_date date, quantity int, amount decimal(12,2), "
        "status string, updated_at timestamp"
    ),
    keys=("order_id",),
)
CUSTOMERS = CapturedTable(
    name="customers",
    columns=columns(
        "customer_id bigint, customer_name string, email string, region string, created_at timestamp, "
        "updated_at timestamp"
    ),
    keys=("customer_id",),
)
PRODUCTS = CapturedTable(
    name="products",
    columns=columns(
        "product_id string, product_name string, category string, description string, unit_cost decimal(12,2), "
        "unit_price decimal(12,2), updated_at timestamp"
    ),
    keys=("product_id",),
)
HEARTBEATS = CapturedTable(
    name="heartbeats",
    columns=columns("id int, beat bigint, beat_at timestamp"),
    keys=("id",),
    has_silver=False,
)

CAPTURED = (ORDERS, CUSTOMERS, PRODUCTS, HEARTBEATS)
