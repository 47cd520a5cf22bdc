"""The Spark Thrift server over the published tables, in this process: Hive JDBC clients read `gold.*` and `silver.*`.

Each Gold table is a view of the version that the newest publication names, so that all of them are of one night. A new
publication is seen within seconds, without a restart. Silver is shown as it is now.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from batch import catalog
from batch.gold import SOURCES
from batch.marts import published
from batch.publish import published_versions
from lakehouse import delta_io
from lakehouse.errors import ServiceUnreachable, StepFailed
from lakehouse.logs import get_logger
from lakehouse.session import build_session
from lakehouse.settings import Settings
from lakehouse.spark_conf import spark_conf

log = get_logger(__name__)

HOST = "127.0.0.1"
SECONDS_BETWEEN_LOOKS = 10.0


def serve(settings: Settings, port: int, stopped: threading.Event) -> None:
    """Serve the published tables on loopback until `stopped` is set. Raises `StepFailed` when nothing is published."""
    with server(settings, port) as spark:
        shown = show_published(spark, settings, {})
        log.info("bi_server_ready", host=HOST, port=port, tables=sorted(shown))
        while not stopped.wait(SECONDS_BETWEEN_LOOKS):
            shown = show_published(spark, settings, shown)


@contextmanager
def server(settings: Settings, port: int) -> Iterator[SparkSession]:
    """A session with the Thrift server in it; both end with the block.

    Raises `ServiceUnreachable` for a busy port, and `StepFailed` before the first publication.
    """
    _must_be_free(port)
    if not published_versions(settings):
        raise StepFailed("Nothing was published yet, so there is nothing to show. Run `lakehouse night run` first.")
    options = "spark.driver.extraJavaOptions"
    places = {
        # Hive looks for a metastore of its own and leaves the log of its database where it is started.
        options: f"{spark_conf(settings)[options]} -Dderby.system.home={settings.home / 'spark'}",
        "spark.hadoop.hive.server2.thrift.port": str(port),
        "spark.hadoop.hive.server2.thrift.bind.host": HOST,
        "spark.hadoop.hive.server2.transport.mode": "binary",
    }
    spark = build_session(settings, "lakehouse-bi", places)
    jvm = spark._jvm
    assert jvm is not None
    try:
        for spec in SOURCES:
            if delta_io.exists(spark, spec, settings):
                catalog.show(spark, spec.name, spec.path(settings))
        thrift = jvm.org.apache.spark.sql.hive.thriftserver.HiveThriftServer2
        # False: a server that can't start says so here; by default it would end the process.
        running = thrift.startWithSparkSession(spark._jsparkSession, False)
        yield spark
        running.stop()
    finally:
        spark.stop()


def show_published(spark: SparkSession, settings: Settings, shown: dict[str, int]) -> dict[str, int]:
    """Point the views at the newest publication where it is not the one that is `shown`. Returns what is shown now."""
    versions = published_versions(settings)
    for name, version in versions.items():
        if shown.get(name) != version:
            catalog.show(spark, name, published(name.partition(".")[2]).path(settings), version)
    if shown and versions != shown:
        log.info("bi_moved", versions=versions)
    return versions


def _must_be_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise ServiceUnreachable(
                "The Thrift server", f"{HOST}:{port}", "Another process has the port: choose one with --port."
            )
