"""Silver against the real Postgres: agreement, four kinds of damage, a transaction open across the cut, a repair."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from batch import captured_tables, night, reconcile, reconcile_commands, reconcile_now, repair
from batch.differences import Difference
from batch.rebuild import rebuild
from batch.reconcile import SilverDiffers, SilverIsLater
from batch.reconcile_now import Outcome
from batch.repair import Repaired
from infra.local import database
from infra.local.plan import read_plan
from lakehouse import arrival, delta_io, night_cut, source_beat, source_cut, source_rows
from lakehouse.arrival import ChangesNotInBronze
from lakehouse.errors import LakehouseError
from lakehouse.session import point_at_store
from lakehouse.settings import Settings
from lakehouse.tables import CUSTOMERS, ORDERS, PRODUCTS, RECONCILIATIONS, REPAIRS, SILVER_CAPTURED, VERIFIED
from streaming import queries

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1200)]
DAY = date(2026, 11, 23)
FIRST = 900_000_000
"""Keys of these tests, apart from those of a shop that traded before."""
TRAFFIC = f"""
insert into customers select {FIRST} + one, 'Zoë ' || one, null, 'North', now(), now()
from generate_series(1, 40) one;
insert into products select 'T-' || one, 'Lamp', null, repeat('long ', 600), 1.005, one, now()
from generate_series(1, 5) one;
insert into orders select {FIRST} + one, {FIRST} + one, 'T-1', '2026-11-23', 1, one * 1.25, 'pending', now()
from generate_series(1, 60) one;
update orders set status = 'shipped', updated_at = clock_timestamp() where order_id % 3 = 0 and order_id > {FIRST};
update products set unit_price = unit_price + 1 where product_id = 'T-2';
delete from orders where order_id = {FIRST} + 7;
update customers set customer_id = {FIRST} + 99 where customer_id = {FIRST} + 40;
"""


@pytest.fixture(scope="module")
def shop(stack: Settings) -> Iterator[psycopg.Connection[Any]]:
    """The shop's own connection."""
    with psycopg.connect(**stack.postgres_conninfo, autocommit=True) as connection:  # type: ignore[arg-type]
        yield connection


@pytest.fixture(scope="module")
def lake(
    spark: SparkSession, stack: Settings, shop: psycopg.Connection[Any], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """A home of its own beside the shared stack, with some traffic in Silver."""
    home: Path = tmp_path_factory.mktemp("reconciliation")
    settings = stack.model_copy(update={"home": home})
    point_at_store(spark, settings)
    shop.execute(TRAFFIC)
    outcome = compare(spark, settings, catch_up=lambda: queries.catch_up(spark, settings, "changes"))
    assert [str(one) for one in outcome.tables if one.differing] == []
    return settings


def nothing() -> None:
    """The streams have nothing to do."""


def compare(spark: SparkSession, settings: Settings, catch_up: Callable[[], None] = nothing) -> Outcome:
    return reconcile_now.compare(settings, SILVER_CAPTURED, lambda: spark, catch_up, with_keys=True)


@pytest.fixture
def orders(spark: SparkSession, lake: Settings) -> Iterator[DeltaTable]:
    """silver.orders, as it was before once the test has damaged it."""
    table = delta_io.table(spark, ORDERS.silver, lake)
    before = table.history(1).collect()[0]["version"]
    yield table
    table.restoreToVersion(before)


def lose(orders: DeltaTable, number: int) -> None:
    orders.delete(F.col("order_id") == FIRST + number)


def double(orders: DeltaTable, number: int) -> None:
    row = orders.toDF().where(F.col("order_id") == FIRST + number)
    path = orders.detail().collect()[0]["location"]
    row.write.format("delta").mode("append").save(path)


def change(orders: DeltaTable, number: int) -> None:
    orders.update(
        F.col("order_id") == FIRST + number, {"amount": F.col("amount") + F.lit("0.01").cast("decimal(12,2)")}
    )


def lose_and_double(orders: DeltaTable, number: int) -> None:
    lose(orders, number)
    double(orders, number + 1)


def add(orders: DeltaTable, number: int) -> None:
    row = orders.toDF().where(F.col("order_id") == FIRST + number)
    path = orders.detail().collect()[0]["location"]
    row.withColumn("order_id", F.col("order_id") + 5000).write.format("delta").mode("append").save(path)


def test_after_traffic_every_bucket_agrees_and_the_mark_moves(spark: SparkSession, lake: Settings) -> None:
    outcome = compare(spark, lake)
    assert outcome.agrees
    assert outcome.keys == []
    buckets = delta_io.read(spark, RECONCILIATIONS, lake).where(F.col("run_id") == outcome.run)
    assert buckets.where("not agrees").count() == 0
    assert {row["table_name"] for row in buckets.collect()} == {"orders", "customers", "products"}
    marks = {row["table_name"]: row for row in delta_io.read(spark, VERIFIED, lake).collect()}
    assert marks["orders"]["cut"] == outcome.cut.to_json()
    assert marks["orders"]["run_id"] == outcome.run
    assert {name: row["rows"] for name, row in marks.items()} == {
        one.source.table.name: one.silver_rows for one in outcome.tables
    }


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lose, [(11, "lost")]),
        (double, [(11, "doubled")]),
        (change, [(11, "changed")]),
        (lose_and_double, [(11, "lost"), (12, "doubled")]),
        (add, [(5011, "extra")]),
    ],
    ids=["lost", "doubled", "changed", "lost and doubled", "extra"],
)
def test_damage_to_silver_is_found_down_to_the_key(
    spark: SparkSession,
    lake: Settings,
    orders: DeltaTable,
    damage: Callable[[DeltaTable, int], None],
    expected: list[tuple[int, str]],
) -> None:
    mark = delta_io.read(spark, VERIFIED, lake).where("table_name = 'orders'").first()
    damage(orders, 11)
    outcome = compare(spark, lake)
    assert [(one.key, one.kind) for one in outcome.keys] == [((FIRST + number,), kind) for number, kind in expected]
    assert [one.source.table.name for one in outcome.tables if one.differing] == ["orders"]
    assert delta_io.read(spark, VERIFIED, lake).where("table_name = 'orders'").first() == mark


def test_the_command_names_the_keys_and_ends_with_code_1(
    spark: SparkSession, lake: Settings, orders: DeltaTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile_now, "run_streams", lambda *_: nothing)
    change(orders, 13)
    ended = CliRunner().invoke(reconcile_commands.reconcile, ["--table", "orders", "--show-keys"], obj=lake)
    assert ended.exit_code == 1, ended.output
    assert re.search(r"orders: \d+ rows in Postgres, \d+ in Silver, 1 of 256 buckets differ", ended.output)
    assert f"orders order_id={FIRST + 13}: changed" in ended.output
    assert "customers" not in ended.output


def test_a_night_that_differs_ends_before_gold(spark: SparkSession, lake: Settings, orders: DeltaTable) -> None:
    cut, tables = source_rows.read(lake)
    night_cut.record(spark, lake, "damaged", DAY, cut, tables)
    lose_and_double(orders, 20)
    with pytest.raises(SilverDiffers, match=r"orders: \d+ rows in Postgres, \d+ in Silver, 2 of 256 buckets differ"):
        night.silver(spark, lake, DAY, "damaged")
    written = delta_io.read(spark, RECONCILIATIONS, lake).where("run_id = 'damaged' and not agrees").collect()
    # One bucket lacks a row, another has one twice.
    assert sorted(row["source_rows"] - row["silver_rows"] for row in written) == [-1, 1]
    assert {row["table_name"] for row in written} == {"orders"}


def test_a_value_that_was_never_seen_is_read_again_by_the_night_that_misses_it(
    spark: SparkSession,
    stack: Settings,
    lake: Settings,
    shop: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = read_plan(stack.home)
    assert plan is not None
    # The insert is not published, so the update leaves out a value that nobody knows.
    with database.connect(plan) as owner:
        owner.execute("alter publication lakehouse drop table products")
        shop.execute("insert into products values ('T-9', 'Lamp', null, repeat('never seen ', 400), 1, 1, now())")
        owner.execute("alter publication lakehouse add table products")
    shop.execute("update products set unit_price = 2 where product_id = 'T-9'")

    cut, tables = source_rows.read(lake)
    arrival.ends_after_beat(lake)
    queries.catch_up(spark, lake, "changes")
    night_cut.record(spark, lake, "never-seen", DAY, cut, tables)

    def held() -> list[tuple[Any, ...]]:
        row = delta_io.read_now(spark, PRODUCTS.silver, lake).where("product_id = 'T-9'")
        return [tuple(one) for one in row.select("description", "_unresolved_columns").collect()]

    with monkeypatch.context() as unanswered:
        unanswered.setattr(repair, "ask", lambda *_: 0)
        with pytest.raises(SilverDiffers, match=r"products: .* differ.* Of 1 rows of products that the connector was"):
            night.silver(spark, lake, DAY, "never-seen")
    with pytest.raises(SilverDiffers, match="Of 1 rows of products, values had never been seen: they were read again"):
        night.silver(spark, lake, DAY, "never-seen")
    assert held() == [(None, ["description"])]
    assert compare(spark, lake, catch_up=partial(queries.catch_up, spark, lake, "changes")).agrees
    assert held() == [("never seen " * 400, None)]


def test_a_step_without_a_cut_says_which_step_takes_it(spark: SparkSession, lake: Settings) -> None:
    with pytest.raises(night_cut.NoCut, match="Run its step `bronze` first"):
        night.silver(spark, lake, DAY, "unknown")


def test_a_transaction_that_stays_open_across_the_cut_is_not_of_it(
    spark: SparkSession, lake: Settings, shop: psycopg.Connection[Any]
) -> None:
    insert = "insert into orders values (%s, 1, 'T-1', '2026-11-23', 1, 1, 'pending', now())"
    with psycopg.connect(**lake.postgres_conninfo) as slow:  # type: ignore[arg-type]
        slow.execute(insert, [FIRST + 1001])
        with slow.transaction():
            # A subtransaction has an id of its own; the log names the one around it.
            slow.execute(insert, [FIRST + 1002])
        shop.execute(insert, [FIRST + 1003])
        cut, (before, *_) = source_rows.read(lake, [ORDERS])
        slow.execute(insert, [FIRST + 1004])
        slow.commit()
    shop.execute(insert, [FIRST + 1005])
    ends = arrival.ends_after_beat(lake)
    with pytest.raises(ChangesNotInBronze, match=r"shop\.public\.orders/[01] by \d+ offsets"):
        arrival.wait_for_bronze(spark, lake, ends, timeout_seconds=0)
    queries.catch_up(spark, lake, "changes")
    arrival.wait_for_bronze(spark, lake, ends, timeout_seconds=0)
    changes = delta_io.read(spark, ORDERS.changes, lake).where(
        F.col("key")["order_id"].between(FIRST + 1001, FIRST + 1005)
    )
    seen = changes.select(F.col("key")["order_id"] - FIRST, cut.sees(F.col("transaction_id"))).collect()
    assert dict(map(tuple, seen)) == {1001: False, 1002: False, 1003: True, 1004: False, 1005: False}
    _, (at_the_cut,) = reconcile.merge_and_compare(spark, lake, cut, [before])
    assert at_the_cut.differing == []
    assert source_cut.take(lake).is_later_than(cut)
    after = compare(spark, lake)
    assert after.agrees
    assert next(one.source.rows for one in after.tables if one.source.table is ORDERS) == before.rows + 4
    with pytest.raises(SilverIsLater, match="takes a new cut"):
        reconcile.merge_and_compare(spark, lake, cut, [before])


def test_a_merge_without_a_cut_is_not_taken_for_a_difference(
    spark: SparkSession, lake: Settings, shop: psycopg.Connection[Any]
) -> None:
    cut, (before, *_) = source_rows.read(lake, [ORDERS])
    shop.execute("insert into orders values (%s, 1, 'T-1', '2026-11-23', 1, 1, 'pending', now())", [FIRST + 1101])
    ends = arrival.ends_after_beat(lake)
    queries.catch_up(spark, lake, "changes")
    arrival.wait_for_bronze(spark, lake, ends, timeout_seconds=0)
    captured_tables.run(spark, lake, ORDERS)
    for _ in range(2):
        with pytest.raises(SilverIsLater, match="`lakehouse batch silver` has merged since"):
            reconcile.merge_and_compare(spark, lake, cut, [before])
    assert compare(spark, lake).agrees


def test_lost_and_changed_rows_are_repaired_by_way_of_kafka_and_bronze(
    spark: SparkSession, lake: Settings, orders: DeltaTable, shop: psycopg.Connection[Any]
) -> None:
    compare(spark, lake)
    lose(orders, 21)
    change(orders, 22)
    delta_io.table(spark, PRODUCTS.silver, lake).delete("product_id = 'T-3'")
    delta_io.table(spark, CUSTOMERS.silver, lake).delete(F.col("customer_id") == FIRST + 99)
    damaged = compare(spark, lake)
    assert {(one.table.name, one.kind) for one in damaged.keys} == {
        ("orders", "lost"),
        ("orders", "changed"),
        ("products", "lost"),
        ("customers", "lost"),
    }
    done = reconcile_now.repair_keys(spark, lake, damaged)
    assert done == {"orders": Repaired(2, 0), "customers": Repaired(1, 0), "products": Repaired(1, 0)}
    repaired = compare(spark, lake, catch_up=partial(queries.catch_up, spark, lake, "changes"))
    assert [str(one) for one in repaired.keys] == []
    assert repaired.agrees
    read_again = delta_io.read(spark, ORDERS.changes, lake).where("op = 'r' and snapshot = 'incremental'")
    assert {row["key"]["order_id"] - FIRST for row in read_again.collect()} == {21, 22}
    (written,) = delta_io.read(spark, REPAIRS, lake).where("table_name = 'orders'").collect()
    assert (written["rows_lost"], written["rows_changed"], written["rows_asked"], written["rows_read"]) == (1, 1, 2, 2)


def test_doubled_and_extra_rows_are_made_anew_from_bronze_by_the_command(
    spark: SparkSession, lake: Settings, orders: DeltaTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile_now, "run_streams", lambda *_: nothing)
    # What other tests put back is not what Bronze gives; nothing else may differ.
    before = [one.different for one in rebuild(spark, lake, ORDERS)]
    # One of the doubled rows is wrong as well, and one of the extra ones is a row that was deleted.
    double(orders, 31)
    double(orders, 32)
    change(orders, 32)
    add(orders, 33)
    location = orders.detail().collect()[0]["location"]
    revived = (
        orders.toDF().where(F.col("order_id") == FIRST + 34).withColumn("order_id", F.lit(FIRST + 7).cast("bigint"))
    )
    revived.write.format("delta").mode("append").save(location)
    repaired = CliRunner().invoke(reconcile_commands.reconcile, ["--table", "orders", "--repair"], obj=lake)
    assert repaired.exit_code == 0, repaired.output
    for number, kind in ((31, "doubled"), (32, "doubled"), (5033, "extra"), (7, "extra")):
        assert f"orders order_id={FIRST + number}: {kind}" in repaired.output
    assert "orders: 4 keys were folded anew from Bronze" in repaired.output
    assert "orders: 0 rows were read again" in repaired.output
    assert [one.different for one in rebuild(spark, lake, ORDERS)] == before
    written = delta_io.read(spark, REPAIRS, lake).where("keys_folded > 0").collect()
    assert [(row["rows_doubled"], row["rows_extra"], row["keys_folded"]) for row in written] == [(2, 2, 4)]


def test_rows_are_read_again_while_the_source_is_busy(lake: Settings, shop: psycopg.Connection[Any]) -> None:
    # When requests were taken from a topic, the 29th ended the connector beside two such writers.
    stopping = threading.Event()

    def trade() -> None:
        with psycopg.connect(**lake.postgres_conninfo, autocommit=True) as connection:  # type: ignore[arg-type]
            while not stopping.is_set():
                connection.execute(source_beat.BEAT)

    asked = [(ORDERS, (FIRST + 1,)), (CUSTOMERS, (FIRST + 1,)), (PRODUCTS, ("T-1",))]
    writers = [threading.Thread(target=trade) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for table, key in asked * 33:
            shape = source_rows.Shape(table.keys, (), {})
            assert repair.ask(lake, [Difference(table, key, "lost")], shape, timeout_seconds=60) == 1
    finally:
        stopping.set()
        for writer in writers:
            writer.join()


def test_many_keys_are_asked_for_in_several_requests_that_leave_nothing_behind(
    lake: Settings, shop: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "KEYS_PER_REQUEST", 2)
    lost = [Difference(ORDERS, (FIRST + number,), "lost") for number in range(1, 6)]
    assert repair.ask(lake, lost, source_rows.Shape(ORDERS.keys, (), {}), timeout_seconds=60) == 5
    assert shop.execute("select count(*) from lakehouse_signals").fetchone() == (0,)


def test_a_cut_whose_transaction_postgres_has_ended_takes_nothing_down_with_it(stack: Settings, lake: Settings) -> None:
    plan = read_plan(stack.home)
    assert plan is not None
    with source_cut.reading(lake) as (connection, cut), database.connect(plan) as owner:
        owner.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
    assert cut.xmax


def test_a_source_that_takes_no_requests_is_told_with_the_cure(
    stack: Settings, lake: Settings, shop: psycopg.Connection[Any]
) -> None:
    plan = read_plan(stack.home)
    assert plan is not None
    lost = [Difference(ORDERS, (FIRST + 1,), "lost")]
    with database.connect(plan) as owner:
        owner.execute("alter table lakehouse_signals rename to elsewhere")
        try:
            with pytest.raises(LakehouseError, match=r"does not exist\): run infra/postgres/\*\.sql"):
                repair.ask(lake, lost, source_rows.Shape(ORDERS.keys, (), {}))
        finally:
            owner.execute("alter table elsewhere rename to lakehouse_signals")


def test_a_request_quotes_what_the_keys_hold(lake: Settings) -> None:
    shape = source_rows.Shape(("product_id",), (), {})
    hostile = "x'); drop table orders; --\\"
    signal = repair.request(PRODUCTS, shape, [(hostile,), ("plain",)])
    condition = signal["data"]["additional-conditions"][0]["filter"]
    with source_cut.reading(lake) as (connection, _):
        row = connection.execute(
            f"select count(*) from (values (%s), ('y')) as one (product_id) where {condition}", [hostile]
        )
        assert row.fetchone() == (1,)
