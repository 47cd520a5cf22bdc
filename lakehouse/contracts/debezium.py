"""What the streams need of Debezium's envelope, whatever the table."""

from __future__ import annotations

from pyspark.sql.types import DataType, StructType

from lakehouse.contracts.avro_types import UnusableSchema
from lakehouse.tables.columns import columns

SOURCE = columns("lsn bigint, sequence string, snapshot string, ts_ms bigint, txId bigint")
TRANSACTION = columns("id string, total_order bigint, data_collection_order bigint")


def row_image(envelope: StructType) -> StructType:
    """The row's record inside the envelope. Raises `UnusableSchema` where it is no envelope of Debezium."""
    types = {field.name: field.dataType for field in envelope}
    after, transaction = types.get("after"), types.get("transaction")
    has_parts = _has(types.get("source"), SOURCE) and (transaction is None or _has(transaction, TRANSACTION))
    if not (has_parts and isinstance(after, StructType) and types.get("before") == after and "op" in types):
        raise UnusableSchema("no envelope of Debezium: that has op, source, and the row's record as before and after")
    return after


def _has(found: DataType | None, wanted: StructType) -> bool:
    pairs = {(field.name, field.dataType.simpleString()) for field in found} if isinstance(found, StructType) else set()
    return {(field.name, field.dataType.simpleString()) for field in wanted} <= pairs
