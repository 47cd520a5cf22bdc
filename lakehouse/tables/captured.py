"""The Postgres tables that Debezium captures. One `CapturedTable` gives the Bronze, Silver and deleted-rows tables.

A new captured table costs one constant here, its topic in infra/kafka/topics.yaml and its name in the connector's list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark.sql.types import StringType, StructField, StructType

from lakehouse.errors import UnsafeIdentifier
from lakehouse.settings import Settings
from lakehouse.tables.bronze import APPEND_ONLY, KAFKA_ORIGIN, REPLAYED, WITH_DOUBTS
from lakehouse.tables.columns import columns
from lakehouse.tables.spec import TableSpec

POSITION = "struct<incarnation:int,commit_lsn:bigint,is_change:boolean,lsn:bigint,transaction_order:bigint>"
"""Where a change stands among all changes of the source (docs/decisions/0016-order-of-changes.md)."""
RESERVED = ("op", "is_gone", "is_head", "valid_from", "valid_to", "is_current")
TRUNCATE = f"struct<_position:{POSITION},_source_at:timestamp>"
ORIGIN = f"_position {POSITION}, _offset bigint, _source_at timestamp, _unresolved_columns array<string>"
SKIPPED_BY = "key,op,lsn,source_at,_topic,_partition,_offset,_ingested_at,_replayed_at"
"""Columns of changes by whose statistics a merge skips files."""
# A merge marks replaced rows and writes the new ones; without, it would copy each file that it touches.
MERGED = {"delta.enableDeletionVectors": "true", "delta.checkpointInterval": "20"}


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
    has_history: bool = True
    history_columns: tuple[str, ...] = ()
    """Columns of which a change makes a new row of the history; empty means all."""

    def __post_init__(self) -> None:
        """Raise `UnsafeIdentifier` for a column whose name the merge uses itself."""
        for name in self.columns.names:
            if name in RESERVED or name.startswith("_"):
                raise UnsafeIdentifier(name, f"a column that is none of {', '.join(RESERVED)} and begins with no _")

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
            # Whatever the number of columns: a merge finds new rows by offset, and all of a key by the key.
            properties=APPEND_ONLY | {"delta.dataSkippingStatsColumns": SKIPPED_BY},
        )

    @property
    def rejects(self) -> str:
        """Under this name the quarantine keeps the changes that no merge could place."""
        return f"silver_{self.name}"

    @property
    def values(self) -> list[str]:
        """The columns that are no keys, in order."""
        return [name for name in self.columns.names if name not in self.keys]

    @property
    def silver(self) -> TableSpec:
        """`silver.<name>`: the present state, the source's columns and the position of the change that made each
        row.
        """
        return TableSpec(
            name=f"silver.{self.name}",
            schema=StructType(self.columns.fields + columns(f"{ORIGIN}, _merged_at timestamp").fields),
            keys=self.keys,
            comment=f"Present state of {self.name}; equals Postgres row for row.",
            properties=MERGED,
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
            properties=MERGED,
        )

    @property
    def history(self) -> TableSpec:
        """`silver.<name>_history`: one row for each time during which a row of the source stayed the same."""
        tracked = self.history_columns or tuple(self.values)
        fields = [self.columns[name] for name in self.columns.names if name in self.keys or name in tracked]
        rest = columns(
            "valid_from timestamp, valid_to timestamp, is_current boolean, "
            f"_from_position {POSITION}, _to_position {POSITION}, _unresolved_columns array<string>, "
            "_merged_at timestamp"
        )
        return TableSpec(
            name=f"silver.{self.name}_history",
            schema=StructType(fields + rest.fields),
            keys=(*self.keys, "_from_position"),
            comment=f"Every state of {self.name}, from and to when it was so; valid_to is null for the present one.",
            # A night closes and opens rows among the current ones; the closed ones are only read for late changes.
            partition_by=("is_current",),
            properties=MERGED,
        )

    @property
    def merged(self) -> tuple[TableSpec, ...]:
        """The tables that a merge writes, in the order in which it does."""
        return (self.merges, self.deleted, *([self.history] if self.has_history else []), self.silver)

    @property
    def merges(self) -> TableSpec:
        """`ops.merges/<name>`: what each merge took; the live table's state names the one that counts."""
        return TableSpec(
            name=f"ops.merges/{self.name}",
            schema=columns(
                "merge bigint, ends map<string,bigint>, lowest map<string,bigint>, cut string, "
                f"replayed_through timestamp, truncates array<{TRUNCATE}>, horizon {POSITION}, events bigint, "
                "refolded_keys bigint, quarantined bigint, merged_at timestamp, has_moved_rows boolean"
            ),
            keys=("merge",),
            comment=f"How far each merge of {self.name} read Bronze, up to which cut, and what it must remember.",
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
