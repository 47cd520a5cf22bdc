"""A night's changes into a large Silver table: our merge, a plain Spark MERGE as most people write it, and delta-rs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
from delta.tables import DeltaTable
from deltalake import DeltaTable as RustTable
from pyspark.sql import Column, SparkSession, Window
from pyspark.sql import functions as F

from batch import captured_tables, merge_memory
from infra.bench.measure import Figures, measured
from infra.bench.merge_rows import TOPIC, bronze, orders
from infra.bench.plan import CountsDiffer
from lakehouse import delta_io
from lakehouse.append import Append
from lakehouse.settings import Settings
from lakehouse.tables import ORDERS, CapturedTable

FILES = 8
SHARE = 0.01
"""Of the rows, changed in a night: nine in ten updated, one in twenty deleted, one in twenty new."""
NIGHTS = 20
"""So many at most: each deletes rows that no other does."""
SIDES = ("ours", "ours with history", "plain MERGE", "delta-rs")
SCD1 = CapturedTable("bench_orders", ORDERS.columns, ORDERS.keys, has_history=False)
SCD2 = CapturedTable("bench_orders_too", ORDERS.columns, ORDERS.keys)


@dataclass
class MergeBench:
    """One table of `rows` rows for each side, and nights of changes into all of them."""

    spark: SparkSession
    plain: SparkSession
    """A session with Spark's own defaults."""
    settings: Settings
    folder: Path
    rows: int
    offset: int = field(default=0, init=False)
    top: int = field(default=0, init=False)
    nights: int = field(default=0, init=False)

    def run(self, rounds: int) -> None:
        """Print medians of each side. Raises `CountsDiffer` when their rows are not the same."""
        # As in the night's own session (`spark_conf.night_conf`); the plain one keeps Spark's defaults.
        self.spark.conf.set("spark.sql.adaptive.enabled", "false")
        click.echo(f"Writing {self.rows:,} rows for each of {len(SIDES)} sides ...")
        self._fill()
        for keys in ("random", "recent"):
            found: dict[str, list[tuple[Figures, int]]] = {side: [] for side in SIDES}
            for number in range(rounds + 1):
                changes = self._night(keys)
                for side, job in self._jobs(changes).items():
                    before = self._bytes(side)
                    figures = measured(job)
                    if number:
                        found[side].append((figures, self._bytes(side) - before))
                self._compare()
            self._print(keys, found)
        empty = [measured(lambda: self._merge(SCD1)).wall for _ in range(3)]
        click.secho(f"empty rerun: {statistics.median(empty):.2f} s, no commit", bold=True)
        self._grow(rounds)

    def _grow(self, rounds: int) -> None:
        """The same nights beside a Bronze that also holds how each row came to be."""
        before, small = self._changes(), self._nights(rounds)
        first = self.spark.range(self.rows, numPartitions=FILES).withColumnRenamed("id", "order_id")
        inserts = orders(first.withColumns({"op": F.lit("c"), "lsn": F.col("order_id") + 1}), F.lit(0), "op", "lsn")
        for table in (SCD1, SCD2):
            delta_io.append(bronze(inserts, table), table.changes, self.settings)
        times, large = self._changes() / before, self._nights(rounds)
        click.secho(f"beside {times:.0f} times as many changes in Bronze: {large / small:.2f}x", bold=True)

    def _changes(self) -> int:
        return delta_io.read(self.spark, SCD2.changes, self.settings).count()

    def _nights(self, rounds: int) -> float:
        found = []
        for _ in range(rounds):
            self._night("random")
            self._merge(SCD1)
            found.append(measured(lambda: self._merge(SCD2)).wall)
        return statistics.median(found)

    def _path(self, side: str) -> Path:
        specs = {"ours": SCD1.silver, "ours with history": SCD2.silver}
        return Path(specs[side].path(self.settings)) if side in specs else self.folder / side.replace(" ", "-")

    def _bytes(self, side: str) -> int:
        folders = [self._path(side)]
        if side == "ours with history":
            folders.append(Path(SCD2.history.path(self.settings)))
        return sum(file.stat().st_size for one in folders for file in one.rglob("*") if file.is_file())

    def _fill(self) -> None:
        ids = self.spark.range(self.rows, numPartitions=FILES).withColumnRenamed("id", "order_id")
        source = orders(ids, F.lit(0))
        self.top = self.offset = self.rows
        for side in ("plain MERGE", "delta-rs"):
            source.write.format("delta").save(str(self._path(side)))
        position = F.struct(
            F.lit(0).alias("incarnation"), F.lit(0).alias("commit_lsn"), F.lit(False).alias("is_change"),
            F.col("order_id").alias("lsn"), F.lit(0).alias("transaction_order"),
        )  # fmt: skip
        stamped = source.withColumns(
            {
                "_position": position,
                "_offset": F.col("order_id"),
                "_source_at": F.col("updated_at"),
                "_unresolved_columns": F.lit(None),
                "_merged_at": F.current_timestamp(),
            }
        )
        spans = stamped.withColumns(
            {
                "valid_from": F.col("updated_at"),
                "valid_to": F.lit(None),
                "is_current": F.lit(True),
                "_from_position": F.col("_position"),
                "_to_position": F.lit(None),
            }
        )
        for table in (SCD1, SCD2):
            for spec in (table.changes, *table.merged):
                delta_io.ensure(self.spark, spec, self.settings)
            for spec, rows in ((table.silver, stamped), (table.history, spans)):
                if spec in table.merged:
                    columns = [F.col(one.name).cast(one.dataType).alias(one.name) for one in spec.schema]
                    delta_io.append(rows.select(*columns), spec, self.settings)
                    Append(self.spark, spec, self.settings).commit({merge_memory.application(table): 1}, "")
            ends = {f"{TOPIC}/0": self.offset}
            memory = merge_memory.Memory(merge=1, ends=ends, lowest=ends)
            merge_memory.remember(self.spark, table, self.settings, memory, events=0, refolded_keys=0, quarantined=0)

    def _night(self, keys: str) -> Path:
        """New rows of Bronze for our sides, and the same as a file for the others."""
        count, number = int(self.rows * SHARE), F.col("id")
        place = F.floor(F.rand(self.offset) * self.top) if keys == "random" else number + (self.top - count)
        kind = F.when(number % 20 == 0, "d").when(number % 20 == 1, "c").otherwise("u")
        # No row is changed behind its delete: each night deletes those of one remainder, and others are updated.
        block = place - place % (2 * NIGHTS)
        key = (
            F.when(kind == "c", self.top + F.floor(number / 20))
            .when(kind == "d", block + self.nights)
            .otherwise(block + NIGHTS + place % NIGHTS)
        )
        chosen = self.spark.range(count, numPartitions=1).withColumns({"op": kind, "order_id": key.cast("bigint")})
        changes = orders(chosen, number + self.offset, "op", "id")
        path = self.folder / f"changes-{self.offset}"
        changes.withColumn("lsn", F.col("id") + self.offset + 1).drop("id").coalesce(1).write.parquet(str(path))
        given = self.spark.read.parquet(str(path))
        for table in (SCD1, SCD2):
            delta_io.append(bronze(given, table), table.changes, self.settings)
        self.offset, self.top, self.nights = self.offset + count, self.top + count // 20, self.nights + 1
        return path

    def _jobs(self, changes: Path) -> dict[str, Callable[[], None]]:
        return {
            "ours": lambda: self._merge(SCD1),
            "plain MERGE": lambda: self._merge_plain(changes),
            "ours with history": lambda: self._merge(SCD2),
            "delta-rs": lambda: self._merge_rust(changes),
        }

    def _merge(self, table: CapturedTable) -> None:
        captured_tables.run(self.spark, self.settings, table)

    def _merge_plain(self, changes: Path) -> None:
        newest = Window.partitionBy("order_id").orderBy(F.col("lsn").desc())
        given = self.plain.read.parquet(str(changes)).withColumn("rank", F.row_number().over(newest))
        source = given.where("rank = 1").drop("rank")
        values: dict[str, str | Column] = {name: f"change.{name}" for name in ORDERS.columns.names}
        table = DeltaTable.forPath(self.plain, str(self._path("plain MERGE"))).alias("row")
        merge = table.merge(source.alias("change"), "row.order_id = change.order_id")
        merge = merge.whenMatchedDelete("change.op = 'd'").whenMatchedUpdate(set=values)
        merge.whenNotMatchedInsert("change.op <> 'd'", values=values).execute()

    def _merge_rust(self, changes: Path) -> None:
        rows = pq.read_table(changes).to_pandas().sort_values("lsn").drop_duplicates("order_id", keep="last")
        values = {name: f"change.{name}" for name in ORDERS.columns.names}
        source = pa.Table.from_pandas(
            rows, preserve_index=False, schema=pq.read_schema(next(changes.glob("*.parquet")))
        )
        merge = RustTable(str(self._path("delta-rs"))).merge(
            source, "row.order_id = change.order_id", source_alias="change", target_alias="row"
        )
        merge = merge.when_matched_delete("change.op = 'd'").when_matched_update(values)
        merge.when_not_matched_insert(values, "change.op <> 'd'").execute()

    def _compare(self) -> None:
        def sums(side: str) -> tuple[int, int]:
            rows = self.spark.read.format("delta").load(str(self._path(side)))
            hashed = F.sum(F.xxhash64(*ORDERS.columns.names).cast("decimal(38,0)"))
            row = rows.agg(F.count(F.lit(1)), hashed).first()
            assert row is not None
            return int(row[0]), int(row[1])

        expected = sums("plain MERGE")
        for side in SIDES:
            if (found := sums(side)) != expected:
                raise CountsDiffer(f"merge, {side}", found[0], expected[0], expected[0])

    def _print(self, keys: str, found: dict[str, list[tuple[Figures, int]]]) -> None:
        click.secho(f"1 % of {self.rows:,} rows changed, {keys} keys; results equal", bold=True)
        base = _medians(found["plain MERGE"])
        for side in SIDES:
            wall, cpu, written = _medians(found[side])
            click.echo(
                f"  {side:<18}{wall:>7.1f} s ({wall / base[0]:.2f}x){cpu:>8.1f} CPU-s ({cpu / base[1]:.2f}x)"
                f"{written / 1e6:>9.1f} MB ({written / base[2]:.2f}x)"
            )


def _medians(found: list[tuple[Figures, int]]) -> tuple[float, float, float]:
    return (
        statistics.median(one.wall for one, _ in found),
        statistics.median(one.cpu for one, _ in found),
        statistics.median(written for _, written in found),
    )
