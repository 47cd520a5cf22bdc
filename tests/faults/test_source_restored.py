"""The source is restored from a dump to another server, by the steps of docs/runbooks/source-restored.md: a new life
whose log has nothing to do with the one before.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
import waiting
from click.testing import CliRunner
from connect_worker import connect_is_told
from pyspark.sql import SparkSession

from batch import captured_tables, incarnations, reconcile_now
from batch.commands import batch
from batch.rebuild import rebuild
from batch.reconcile_now import Outcome
from infra.local import content, database
from infra.local import stack as supervisor
from infra.local.plan import DATABASE, Plan, read_plan
from infra.local.processes import start
from lakehouse.session import point_at_store
from lakehouse.settings import Settings
from lakehouse.tables import CUSTOMERS, SILVER_CAPTURED
from streaming import queries, source_connector, source_slot, source_status

# A stack of its own: its database is replaced.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]
until = partial(waiting.until, seconds=120.0)
CUSTOMER = "insert into customers values ({}, '{}', null, 'Wales', now(), now())"


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack of its own, in agreement with its database."""
    with supervisor.running(tmp_path_factory.mktemp("restored-home")) as settings:
        point_at_store(spark, settings)
        run(settings, *[CUSTOMER.format(key, "Ann") for key in (1, 2, 3)])
        assert compare(spark, settings).agrees
        yield settings


def run(settings: Settings, *statements: str) -> None:
    with psycopg.connect(**settings.postgres_conninfo, autocommit=True) as connection:  # type: ignore[arg-type]
        for one in statements:
            connection.execute(one)  # type: ignore[call-overload]


def compare(spark: SparkSession, settings: Settings) -> Outcome:
    def catch_up() -> None:
        queries.catch_up(spark, settings, "changes")

    return reconcile_now.compare(settings, SILVER_CAPTURED, lambda: spark, catch_up, with_keys=True)


def dumped(plan: Plan, file: Path) -> Path:
    """The rows of the database, as of now."""
    address = ["-h", plan.host("postgres"), "-p", str(plan.ports["postgres"]), "-U", "postgres", "-d", DATABASE]
    environment = {**os.environ, "PGPASSWORD": plan.secrets["postgres_admin"]}
    command = [database.program(plan, "pg_dump"), *address, "--data-only", "-f", str(file)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return file


def restored(plan: Plan, dump: Path) -> None:
    """A second server in the place of the first, with roles, tables and the rows of the dump. It has no slot."""
    supervisor.stop_service(plan.home, "postgres")
    data = plan.folder("postgres") / "data"
    data.rename(data.with_name("data.lost"))
    start(database.prepare(plan), plan.log("postgres"), supervisor.pid_file(plan, "postgres"))
    until(lambda: database.answers(plan))
    content.create_database(plan)
    with database.connect(plan) as connection:
        connection.execute("truncate heartbeats")
    database.run_sql(plan, "-f", str(dump))


def test_a_restore_to_another_server_is_a_new_life_that_an_operator_opens(
    spark: SparkSession, shop: Settings, tmp_path: Path
) -> None:
    plan, before = read_plan(shop.home), source_slot.ask(shop).incarnation
    assert plan is not None
    dump = dumped(plan, tmp_path / "dump.sql")
    # What the backup does not know: a row, a change and a delete.
    changed = "update customers set customer_name = 'Bea' where customer_id = 1"
    run(shop, CUSTOMER.format(4, "Cid"), changed, "delete from customers where customer_id = 3")
    assert compare(spark, shop).agrees

    connect_is_told(shop, "PUT", "stop")
    until(lambda: source_connector.ask(shop).states == ("STOPPED",))
    restored(plan, dump)
    after = source_slot.ask(shop).incarnation
    assert after.split("/")[0] != before.split("/")[0]
    found = {one.part: str(one) for one in source_status.findings(shop) if one.cure}
    assert f"the database is {after}, the connector names it {before}" in found["incarnation"]

    connect_is_told(shop, "DELETE", "offsets")
    config = connect_is_told(shop, "GET", "config")
    connect_is_told(shop, "PUT", "config", json=config | {source_connector.INCARNATION: after})
    connect_is_told(shop, "PUT", "resume")
    until(lambda: source_connector.ask(shop).is_running)
    with pytest.raises(incarnations.UnknownIncarnation, match=f"come from the source {after}; expected {before}"):
        compare(spark, shop)
    source_status.require_whole(shop)

    opened = CliRunner().invoke(batch, ["open-incarnation", after, "--reason", "restored by a test"], obj=shop)
    assert opened.output.splitlines() == [f"1  {before}", f"2  {after}"]
    outcome = compare(spark, shop)
    # The change is undone and the deleted row is back; nobody deleted the row that came after the backup.
    assert [str(one) for one in outcome.keys] == ["customers customer_id=4: extra"]
    reconcile_now.repair_keys(spark, shop, outcome)
    assert [str(one) for one in compare(spark, shop).keys] == ["customers customer_id=4: extra"]

    run(shop, CUSTOMER.format(4, "Cid"), "delete from customers where customer_id = 4")
    assert compare(spark, shop).agrees
    assert captured_tables.run(spark, shop, CUSTOMERS) == 0
    assert [str(one) for one in rebuild(spark, shop, CUSTOMERS) if not one.agrees] == []
    assert not [one for one in source_status.findings(shop) if one.cure]
