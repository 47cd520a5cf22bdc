"""`lakehouse reconcile`: Silver against Postgres, now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lakehouse.settings import Settings
from lakehouse.tables import SILVER_CAPTURED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@click.command()
@click.option("--table", "names", multiple=True, type=click.Choice([one.name for one in SILVER_CAPTURED]))
@click.option("--show-keys", is_flag=True, help="Name each key that differs, and how.")
@click.option("--repair", "with_repair", is_flag=True, help="Mend what differs, through Kafka and Bronze; recorded.")
@click.pass_obj
def reconcile(settings: Settings, names: tuple[str, ...], show_keys: bool, with_repair: bool) -> None:
    """Compare Silver with Postgres by counts and hashes at one cut; exit code 1 when they differ.

    Takes what Postgres holds now to Silver first. `--repair` brings rows that Silver lost or has wrong again, by way of
    Kafka and Bronze, makes rows that it has twice or too many anew from Bronze, and compares once more. Not beside a
    night.
    """
    from batch import differences, reconcile_now
    from lakehouse import night_step
    from lakehouse.session import build_session
    from lakehouse.spark_conf import short_lived, spark_conf

    tables = [one for one in SILVER_CAPTURED if not names or one.name in names]
    catch_up = reconcile_now.run_streams(settings, tables)

    def session() -> SparkSession:
        return build_session(settings, "lakehouse-reconcile", short_lived(spark_conf(settings)))

    def compare(with_keys: bool) -> reconcile_now.Outcome:
        found = reconcile_now.compare(settings, tables, session, catch_up, with_keys)
        for line in (*found.tables, *found.keys):
            click.echo(str(line))
        for table in found.tables if with_keys else ():
            if (left := len(table.differing) - differences.MOST_BUCKETS) > 0:
                click.echo(f"{table.source.table.name}: {left} more differing buckets were not looked into")
        return found

    with night_step.alone(settings):
        outcome = compare(show_keys or with_repair)
        if with_repair and outcome.keys:
            for name, done in reconcile_now.repair_keys(session(), settings, outcome).items():
                click.echo(f"{name}: {done.rows_read} rows were read again from Postgres")
                click.echo(f"{name}: {done.keys_folded} keys were folded anew from Bronze")
            outcome = compare(with_keys=True)
    if not outcome.agrees:
        raise click.exceptions.Exit(1)
