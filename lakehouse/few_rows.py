"""A few rows of the driver as a frame, without a Python worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType


def frame(spark: SparkSession, rows: Sequence[Mapping[str, Any]], schema: StructType) -> DataFrame:
    """The rows in one partition; what a row has no value for is null. A moment without a zone is one in UTC."""
    # By Arrow: rows of Python pass through a worker on their way to the JVM, which takes longer than writing them.
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    return spark.createDataFrame(pa.Table.from_pylist(plain, to_arrow_schema(schema)), schema).coalesce(1)


def _plain(value: Any) -> Any:
    """`Row`s as dictionaries, which Arrow takes for structs."""
    if isinstance(value, Row):
        return value.asDict(recursive=True)
    return [_plain(one) for one in value] if isinstance(value, list) else value
