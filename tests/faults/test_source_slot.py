"""The replication slot is dropped and made again while rows change: the night refuses, names what is missing, and goes
on when an operator has taken care of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

import psycopg
import pytest
import waiting
from click.testing import CliRunner
from connect_worker import connect_is_told
from pyspark.sql import SparkSession

from batch import captured_tables, incarnations, repair
from infra.local import database
from infra.local import stack as supervisor
from infra.local.plan import Plan, read_plan
from infra.shop.opening import Sizes
from infra.shop.run import run_shop
from lakehouse import direct_read, metrics
from lakehouse.session import point_at_store
from lakehouse.settings import Settings
from lakehouse.source_beat import ChangesDoNotArrive, prove_arrival
from lakehouse.tables import CAPTURED, CUSTOMERS
from streaming import night, page_watch, source_connector, source_gaps, source_slot, source_status
from streaming.catch_up import catch_up
from streaming.source_commands import SourceNeedsOperator, source

# A stack of its own: what is left of the damage would stop the nights of other tests.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1200)]
until = partial(waiting.until, seconds=90.0)
DAY = date(2026, 11, 23)
RECOVERY = "restore_command = '/bin/false'\nhot_standby = off\n"
"""No log comes from elsewhere, and nobody connects before the new timeline has begun."""


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack of its own, after a little trade and one good night."""
    with supervisor.running(tmp_path_factory.mktemp("slot-home")) as settings:
        point_at_store(spark, settings)
        run_shop(settings, business_date=DAY, sizes=Sizes(scale=0.05, ticks=2))
        night.bronze(spark, settings, DAY, "first")
        yield settings


def plan_of(settings: Settings) -> Plan:
    plan = read_plan(settings.home)
    assert plan is not None
    return plan


def as_administrator(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with database.connect(plan_of(settings)) as connection:
        return connection.execute(sql).fetchall()  # type: ignore[arg-type]


def stop_connector(settings: Settings) -> None:
    connect_is_told(settings, "PUT", "stop")
    until(lambda: source_connector.ask(settings).states == ("STOPPED",))
    until(lambda: not source_slot.ask(settings).is_active)


def change_a_row(settings: Settings, customer_id: int) -> None:
    with psycopg.connect(**settings.postgres_conninfo) as connection:  # type: ignore[arg-type]
        sql = "insert into customers values (%s, 'Ann', null, 'Wales', now(), now())"
        connection.execute(sql, (customer_id,))


def needing_an_operator(settings: Settings) -> dict[str, str]:
    return {one.part: str(one) for one in source_status.findings(settings) if one.cure}


def take_all(spark: SparkSession, settings: Settings) -> None:
    """Bring everything that Postgres has committed to Bronze."""
    prove_arrival(settings)
    catch_up(spark, settings)


def newest_name(spark: SparkSession, settings: Settings) -> str:
    """The incarnation that a change of now carries; for a moment the connector still works as it was told before."""
    take_all(spark, settings)
    newest = source_status.newest_beat(settings)
    assert newest is not None
    return newest.incarnation


def test_a_source_in_order_needs_nobody(shop: Settings) -> None:
    answer = CliRunner().invoke(source, ["status"], obj=shop)
    assert (answer.exit_code, answer.exception) == (0, None)
    assert [line.split()[0] for line in answer.output.splitlines()] == [
        "slot",
        "connector",
        "incarnation",
        "heartbeat",
        "gaps",
    ]


def test_the_role_that_reads_sees_all_of_it(shop: Settings) -> None:
    state = source_slot.ask(shop)
    assert (state.wal_status, state.is_active, state.invalidation_reason) == ("reserved", True, None)
    assert state.retained_bytes is not None
    assert state.safe_bytes is not None
    assert 0 <= state.retained_bytes < 2**30 < state.safe_bytes


def test_the_connectors_role_may_replicate_read_and_beat_and_no_more(shop: Settings) -> None:
    rights = "select rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication, rolcanlogin from pg_roles"
    assert as_administrator(shop, f"{rights} where rolname = 'debezium'") == [(False,) * 4 + (True,) * 2]
    assert as_administrator(shop, "select from pg_auth_members where member = 'debezium'::regrole") == []
    grants = "select table_name, privilege_type from information_schema.role_table_grants where grantee = 'debezium'"
    read = [(name, "SELECT") for name in (*(table.name for table in CAPTURED), repair.SIGNALS)]
    assert sorted(as_administrator(shop, grants)) == sorted([*read, ("heartbeats", "UPDATE")])


def test_the_database_publishes_the_captured_tables_the_requests_and_no_other(shop: Settings) -> None:
    published = as_administrator(shop, "select tablename from pg_publication_tables where pubname = 'lakehouse'")
    assert sorted(name for (name,) in published) == sorted([*(table.name for table in CAPTURED), repair.SIGNALS])


def test_the_slot_is_on_the_streams_page(shop: Settings) -> None:
    stopping = threading.Event()
    watching = threading.Thread(target=page_watch.watch, args=(shop, stopping, page_watch.slot))
    watching.start()
    labels = {"slot": shop.source_slot, "status": "reserved"}
    until(lambda: metrics.STREAMS.get_sample_value("source_slot_wal_status", labels) == 1)
    stopping.set()
    watching.join(30)
    assert metrics.STREAMS.get_sample_value("source_slot_retained_bytes", {"slot": shop.source_slot}) is not None


def test_a_connector_that_was_off_loses_nothing(spark: SparkSession, shop: Settings) -> None:
    stop_connector(shop)
    change_a_row(shop, 9_100_000)
    assert {"slot", "connector"} <= needing_an_operator(shop).keys()
    connect_is_told(shop, "PUT", "resume")
    until(lambda: source_connector.ask(shop).is_running)
    take_all(spark, shop)
    source_status.require_whole(shop)
    connection = direct_read.connect(shop, "bronze.customers_changes")
    sql = """select op from bronze.customers_changes where "key".customer_id = 9100000"""
    assert direct_read.rows(connection, sql) == [("c",)]


def test_a_slot_that_was_made_again_stops_the_night_until_an_operator_accepts(
    spark: SparkSession, shop: Settings
) -> None:
    before = source_slot.ask(shop).beat
    stop_connector(shop)
    as_administrator(shop, f"select pg_drop_replication_slot('{shop.source_slot}')")
    change_a_row(shop, 9_100_001)
    as_administrator(shop, "delete from customers where customer_id = 9100000 returning 1")
    # A night meanwhile: its heartbeat never arrives, so it fails by itself.
    with pytest.raises(ChangesDoNotArrive, match="lakehouse source status"):
        prove_arrival(shop, timeout_seconds=2)

    # Debezium does not go on with another slot.
    connect_is_told(shop, "PUT", "resume")
    until(lambda: "FAILED" in source_connector.ask(shop).states)
    found = needing_an_operator(shop)
    assert {"slot", "connector"} <= found.keys()
    assert "lakehouse: missing" in found["slot"]
    assert "no longer available" in found["connector"]
    with pytest.raises(SourceNeedsOperator, match="slot, connector"):
        CliRunner().invoke(source, ["status"], obj=shop, catch_exceptions=False)

    # The operator makes it forget where it was: a new slot and a new snapshot.
    stop_connector(shop)
    connect_is_told(shop, "DELETE", "offsets")
    connect_is_told(shop, "PUT", "resume")
    until(lambda: source_connector.ask(shop).is_running)
    with pytest.raises(source_gaps.SourceChangesMissing, match="missing, and a new snapshot begins") as refused:
        night.bronze(spark, shop, DAY, "second")
    (gap,) = refused.value.gaps
    assert before <= gap.after_beat < gap.next_beat
    assert list(needing_an_operator(shop)) == ["gaps"]

    assert [one.next_beat for one in source_gaps.accept(spark, shop, "dropped by a test", "tester")] == [gap.next_beat]
    assert night.bronze(spark, shop, DAY, "third") > 0
    assert needing_an_operator(shop) == {}
    kept = direct_read.rows(
        direct_read.connect(shop, "ops.source_gaps"), "select after_beat, next_beat, reason from ops.source_gaps"
    )
    assert kept == [(gap.after_beat, gap.next_beat, "dropped by a test")]


def customers_in_silver(settings: Settings) -> set[int]:
    connection = direct_read.connect(settings, "silver.customers")
    sql = "select customer_id from silver.customers where customer_id between 9100000 and 9100003"
    return {key for (key,) in direct_read.rows(connection, sql)}


def test_a_row_that_was_deleted_in_a_hole_lives_until_its_key_is_deleted_again(
    spark: SparkSession, shop: Settings
) -> None:
    captured_tables.run(spark, shop, CUSTOMERS)
    assert customers_in_silver(shop) == {9_100_000, 9_100_001}
    # The cure of the runbook.
    change_a_row(shop, 9_100_000)
    as_administrator(shop, "delete from customers where customer_id = 9100000 returning 1")
    take_all(spark, shop)
    captured_tables.run(spark, shop, CUSTOMERS)
    assert customers_in_silver(shop) == {9_100_001}


def test_a_slot_that_was_made_by_hand_does_not_let_the_connector_go_on(shop: Settings) -> None:
    stop_connector(shop)
    as_administrator(shop, f"select pg_drop_replication_slot('{shop.source_slot}')")
    change_a_row(shop, 9_100_002)
    as_administrator(shop, f"select pg_create_logical_replication_slot('{shop.source_slot}', 'pgoutput')")
    connect_is_told(shop, "PUT", "resume")
    until(lambda: "FAILED" in source_connector.ask(shop).states)
    assert "no longer available" in source_connector.ask(shop).trouble
    # As before; no beat passed meanwhile.
    stop_connector(shop)
    connect_is_told(shop, "DELETE", "offsets")
    as_administrator(shop, f"select pg_drop_replication_slot('{shop.source_slot}')")
    connect_is_told(shop, "PUT", "resume")
    until(lambda: source_connector.ask(shop).is_running)
    until(lambda: source_slot.ask(shop).is_active)


def test_a_new_snapshot_without_a_missing_beat_stops_the_night(spark: SparkSession, shop: Settings) -> None:
    with pytest.raises(source_gaps.SourceChangesMissing, match="no beat is missing, and a new snapshot begins"):
        night.bronze(spark, shop, DAY, "fourth")
    source_gaps.accept(spark, shop, "dropped by a test again", "tester")


def test_changes_with_the_name_of_another_database_stop_the_night(spark: SparkSession, shop: Settings) -> None:
    config = connect_is_told(shop, "GET", "config")
    connect_is_told(shop, "PUT", "config", json=config | {source_connector.INCARNATION: "1/1"})
    assert "the connector names it 1/1" in needing_an_operator(shop)["incarnation"]
    until(lambda: newest_name(spark, shop) == "1/1")
    with pytest.raises(source_status.ConnectorNamesAnotherSource, match="comes from 1/1, and the database is"):
        source_status.require_whole(shop)

    # The embedded stack registers the connector with the name that the database has now.
    supervisor.up(shop.home)
    assert source_connector.ask(shop).incarnation == source_slot.ask(shop).incarnation
    until(lambda: newest_name(spark, shop) != "1/1")
    source_status.require_whole(shop)


def fail_over(settings: Settings) -> None:
    """Let the database go on with a new timeline, as a promoted standby does that had the slot."""
    supervisor.stop_service(settings.home, "postgres")
    data = plan_of(settings).folder("postgres") / "data"
    owner = data.stat()
    for name, text in (("recovery.signal", ""), ("postgresql.auto.conf", RECOVERY)):
        with (data / name).open("a") as file:
            file.write(text)
        os.chown(data / name, owner.st_uid, owner.st_gid)
    supervisor.up(settings.home)


def test_a_failover_that_kept_the_slot_is_opened_by_an_operator_and_nothing_is_missing(
    spark: SparkSession, shop: Settings
) -> None:
    captured_tables.run(spark, shop, CUSTOMERS)
    before = source_slot.ask(shop).incarnation
    fail_over(shop)
    after = source_slot.ask(shop).incarnation
    assert (before.split("/")[0], "1", "2") == (after.split("/")[0], before.split("/")[1], after.split("/")[1])
    assert source_connector.ask(shop).incarnation == after
    assert "Was it restored or failed over?" in needing_an_operator(shop)["incarnation"]

    change_a_row(shop, 9_100_003)
    until(lambda: newest_name(spark, shop) == after)
    # The heartbeats count on.
    source_status.require_whole(shop)
    with pytest.raises(incarnations.UnknownIncarnation, match=after):
        captured_tables.run(spark, shop, CUSTOMERS)
    incarnations.open_next(spark, shop, after, "failed over by a test")
    assert captured_tables.run(spark, shop, CUSTOMERS) == 1
    assert needing_an_operator(shop) == {}
