"""What a declared table is: a name, columns, keys and a layout. The path follows from the name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pyspark.sql.types import StructType

from lakehouse.errors import UnsafeIdentifier
from lakehouse.settings import Settings

TABLE_NAME = re.compile(r"(bronze|silver|candidate|gold|ops)\.[a-z][a-z0-9_]{0,62}(/[a-z][a-z0-9_]{0,62})?")


@dataclass(frozen=True)
class TableSpec:
    """A Delta table: `name` is `layer.table`, `schema` its columns in order, `keys` what identifies a row."""

    name: str
    schema: StructType
    keys: tuple[str, ...]
    comment: str
    partition_by: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not TABLE_NAME.fullmatch(self.name):
            raise UnsafeIdentifier(self.name, "layer.table in lower snake_case")

    @property
    def layer(self) -> str:
        """The first half of the name."""
        return self.name.partition(".")[0]

    @property
    def table(self) -> str:
        """The second half of the name."""
        return self.name.partition(".")[2]

    @property
    def columns(self) -> list[str]:
        """Column names in order."""
        return self.schema.fieldNames()

    def path(self, settings: Settings) -> str:
        """Address of the table: `<warehouse>/<layer>/<table>`."""
        return f"{settings.warehouse}/{self.layer}/{self.table}"
