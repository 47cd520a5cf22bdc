"""What the morning report reads: Delta tables by path, without Spark, through DuckDB.

Gold is read at the versions of one publication, so that the page shows what readers were given and not what a night is
about to change. A table that does not exist (yet) is empty: the page then says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from lakehouse import direct_read
from lakehouse.settings import Settings

Row = dict[str, Any]


@dataclass(frozen=True)
class Publication:
    """Which versions of Gold readers were moved to for a business date, and when (UTC)."""

    run_id: str
    business_date: date
    published_at: datetime
    versions: dict[str, int]


class ReportTables:
    """Delta tables under the names that the queries use. Holds one DuckDB connection in memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = duckdb.connect()
        self._known: set[str] = set()

    def add(self, name: str, layer: str, version: int | None = None, called: str = "") -> bool:
        """Offer `<layer>/<name>` to the queries as `name` (or `called`); False when there is no such table."""
        try:
            table = DeltaTable(self._path(layer, name), version=version, storage_options=self._storage_options())
        except TableNotFoundError:
            return False
        self._connection.register(called or name, direct_read.contents(table))
        self._known.add(called or name)
        return True

    def rows(self, needs: str, query: str, **values: object) -> list[Row]:
        """Rows of `query` (DuckDB SQL, parameters as `$name`); none when a table named in `needs` is not there."""
        if not self._known.issuperset(needs.split()):
            return []
        found = self._connection.execute(query, values or None)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def publication(self, business_date: date) -> Publication | None:
        """The newest publication of this date, else of the newest earlier date, else the newest of all."""
        if not self.add("publications", "ops"):
            return None
        newest = self.rows(
            "publications",
            "select * from (select run_id, business_date, max(published_at) as published_at "
            "from publications group by run_id, business_date) order by business_date <= $day desc, "
            "case when business_date <= $day then business_date end desc, published_at desc limit 1",
            day=business_date,
        )
        if not newest:
            return None
        moved = self.rows(
            "publications",
            "select table_name, published_version from publications where run_id = $run and business_date = $day",
            run=newest[0]["run_id"],
            day=newest[0]["business_date"],
        )
        return Publication(**newest[0], versions={row["table_name"]: row["published_version"] for row in moved})

    def add_gold(self, publication: Publication | None) -> None:
        """Offer the Gold tables of a publication, each at its published version."""
        for table, version in (publication.versions if publication else {}).items():
            name = table.rpartition(".")[2]
            self.add(name, "gold", version)

    def _path(self, layer: str, name: str) -> str:
        # delta-rs knows Amazon's scheme by its plain name.
        return f"{self._settings.warehouse}/{layer}/{name}".replace("s3a://", "s3://", 1)

    def _storage_options(self) -> dict[str, str] | None:
        settings = self._settings
        if not settings.warehouse.startswith("s3"):
            return None
        given = {
            "aws_endpoint_url": settings.s3_endpoint,
            "aws_access_key_id": settings.s3_access_key.get_secret_value(),
            "aws_secret_access_key": settings.s3_secret_key.get_secret_value(),
            "aws_region": settings.s3_region,
            "aws_allow_http": str(settings.s3_endpoint.startswith("http://")).lower(),
        }
        return {name: value for name, value in given.items() if value}
