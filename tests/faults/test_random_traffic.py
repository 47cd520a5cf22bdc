"""Random traffic on Postgres with `kill -9` of the connector, the broker and the merge in between: at the end Silver is
Postgres, bucket by bucket, and what a fold of all of Bronze gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import Any

import psycopg
import pytest
from inventory_topic import cli_process, log_of
from pyspark.sql import SparkSession

from batch import reconcile_now
from batch.rebuild import rebuild
from infra.local import stack as supervisor
from infra.local.processes import family_of
from lakehouse import arrival
from lakehouse.settings import Settings
from lakehouse.tables import SILVER_CAPTURED
from streaming import queries

# Broker and connector die: a stack of its own.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1500)]
SEED = 20261126
WRITERS, STATEMENTS, KEYS = 3, 250, 30
KINDS = (
    """insert into products values (%(product)s, 'Lamp', null, %(text)s, null, %(amount)s, now())
       on conflict do nothing""",
    "update products set unit_price = %(amount)s where product_id = %(product)s",
    "update products set description = %(text)s where product_id = %(product)s",
    """update products set product_id = %(other_product)s where product_id = %(product)s
       and not exists (select from products where product_id = %(other_product)s)""",
    "delete from products where product_id = %(product)s",
    """insert into orders values (%(key)s, %(key)s, %(product)s, '2026-11-23', 1, %(amount)s, 'pending', now())
       on conflict do nothing""",
    "update orders set status = 'shipped', updated_at = clock_timestamp() where order_id = %(key)s",
    "delete from orders where order_id = %(key)s",
    """insert into customers values (%(key)s, 'Zoë "Q" 😀', null, 'North', now(), now()) on conflict do nothing""",
    """update customers set customer_id = %(other)s where customer_id = %(key)s
       and not exists (select from customers where customer_id = %(other)s)""",
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with supervisor.running(tmp_path_factory.mktemp("traffic-home")) as settings:
        yield settings


def kill(settings: Settings, name: str) -> None:
    (pid,) = [one.pid for one in supervisor.status(settings.home) if one.name == name]
    assert pid is not None
    for process in family_of(pid):
        process.kill()
        process.wait(10)


class Writer:
    """One connection with keys of its own, so that no writer waits for another's row."""

    def __init__(self, connection: psycopg.Connection[Any], number: int, random: Random) -> None:
        self.connection, self.random = connection, random
        self.keys = [1_000 * (number + 1) + one for one in range(KEYS)]

    def write(self) -> None:
        """One statement, in a transaction that may stay open while others commit theirs."""
        key, other = self.random.sample(self.keys, 2)
        values = {
            "key": key,
            "other": other,
            "product": f"P-{key}",
            "other_product": f"P-{other}",
            # Long, so that it is stored out of line and left out of changes that do not touch it.
            "text": "long " * self.random.randint(500, 900),
            "amount": self.random.choice(["0.00", "-7.25", "12345.67", "0.01"]),
        }
        statement = self.random.choice(KINDS)
        if self.random.random() < 0.2:
            with self.connection.transaction():
                self.connection.execute(statement, values)
        else:
            self.connection.execute(statement, values)
        if self.random.random() < 0.3:
            (self.connection.rollback if self.random.random() < 0.15 else self.connection.commit)()


def traffic(settings: Settings, random: Random, truncates: bool) -> None:
    conninfo: dict[str, Any] = settings.postgres_conninfo
    with ExitStack() as stack:
        connections = [stack.enter_context(psycopg.connect(**conninfo)) for _ in range(WRITERS)]
        writers = [Writer(one, number, random) for number, one in enumerate(connections)]
        for number in range(STATEMENTS):
            random.choice(writers).write()
            if truncates and number == STATEMENTS // 2:
                for one in connections:
                    one.commit()
                connections[0].execute("truncate orders")
                connections[0].commit()


def test_after_traffic_and_kills_silver_is_postgres(spark: SparkSession, settings: Settings) -> None:
    random = Random(SEED)

    def to_bronze() -> None:
        queries.catch_up(spark, settings, "changes")

    traffic(settings, random, truncates=False)
    kill(settings, "connect")
    traffic(settings, random, truncates=True)
    supervisor.up(settings.home)
    # All of it is in Kafka, or the merge might find changes of one table only.
    arrival.ends_after_beat(settings, SILVER_CAPTURED)
    to_bronze()
    # The merge dies between its commits, in the second table.
    assert cli_process(settings, "batch", "silver", kill_at="between_silver_targets:3").wait(timeout=300) < 0
    kill(settings, "kafka")
    traffic(settings, random, truncates=False)
    supervisor.up(settings.home)

    outcome = reconcile_now.compare(settings, SILVER_CAPTURED, lambda: spark, to_bronze, with_keys=True)
    assert [str(one) for one in outcome.keys] == []
    assert outcome.agrees, log_of(settings)
    assert all(one.silver_rows for one in outcome.tables), "there was nothing to compare"
    for table in SILVER_CAPTURED:
        assert [str(one) for one in rebuild(spark, settings, table) if not one.agrees] == []
