"""Spark's settings for a driver, without Spark: jars, Delta, S3A, and what makes small batches fast."""

from __future__ import annotations

import os

from lakehouse.errors import JavaUnfit
from lakehouse.settings import PROJECT_ROOT, Settings

# Debezium, JAAS strings, PEM keys and S3 keys travel as source options; plans and pages must not show them.
SECRET_OPTIONS = "(?i)secret|password|token|access[.]?key|jaas|keystore|truststore|credential"


def short_lived(conf: dict[str, str]) -> dict[str, str]:
    """The same for a driver that ends after minutes: it never earns back what the optimizing compiler costs."""
    options = "spark.driver.extraJavaOptions"
    return conf | {
        # That compiler alone is given a code cache of 48 MB, and when it is full (after half a minute of seven queries)
        # the JVM says so once and goes on interpreting, several times slower.
        options: f"{conf[options]} -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m",
        # Small tables, few partitions: planning again between the stages of a query costs more than it finds.
        "spark.sql.adaptive.enabled": "false",
    }


def night_conf(settings: Settings) -> dict[str, str]:
    """Settings of the night's steps: minutes on one machine, as long as it takes on a cluster."""
    conf = spark_conf(settings)
    return short_lived(conf) if settings.profile == "local" else conf


def require_java() -> None:
    """Raise `JavaUnfit` unless the Java that would be started is a release that runs Spark."""
    from infra.setup.check_machine import java_command, java_problem, java_release

    java = java_command()
    if problem := java_problem(java, java_release(java)):
        raise JavaUnfit(problem)


def spark_conf(settings: Settings) -> dict[str, str]:
    """Everything that must be known before the JVM starts, without secrets (it may stand on a command line)."""
    # Imported here: the fetched jars belong to infra/, which is not needed where an image brings its own.
    from infra.local.jars import jar_paths

    jars = os.pathsep.join(str(jar) for jar_set in ("spark", "s3") for jar in jar_paths(jar_set))
    log4j = (PROJECT_ROOT / "infra" / "spark" / "log4j2.properties").as_uri()
    # Avro sets aside as many bytes as a text says that it has: one damaged length would take all of the memory.
    avro = " ".join(
        f"-Dorg.apache.avro.limits.{what}.maxLength={settings.max_record_bytes}"
        for what in ("string", "bytes", "collectionItems")
    )
    conf = {
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_driver_memory,
        # The class path starts in half the time that spark.jars takes, and the Thrift server needs it.
        "spark.driver.extraClassPath": jars,
        "spark.executor.extraClassPath": jars,
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={log4j} -XX:+UseSerialGC -Xss4m {avro}",
        "spark.executor.extraJavaOptions": avro,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.redaction.regex": SECRET_OPTIONS,
        "spark.sql.redaction.options.regex": SECRET_OPTIONS,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        # Paths are the truth; a catalog is filled from them for each driver, so nothing locks or goes stale.
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(settings.home / "spark-warehouse"),
        "spark.local.dir": str(settings.home / "spark-local"),
        "spark.sql.session.timeZone": "UTC",
        # A value that does not fit becomes a null that a rule names; as an exception one poison row would stop
        # a stream.
        "spark.sql.ansi.enabled": "false",
        # Two cores and small batches: the defaults of 200 and 50 cost seconds in every batch.
        "spark.sql.shuffle.partitions": "4",
        "spark.databricks.delta.snapshotPartitions": "1",
        # Compiled code is kept for so many pieces of plans. Seven streams or a night's checks have several hundred:
        # with the default of 100 each batch and each query compiles its code again.
        "spark.sql.codegen.cache.maxEntries": "1000",
        # The default (INT96) is slower to write and has no statistics.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        # Each job describes its plan to listeners that nobody reads; the long form took longer than many a job.
        "spark.sql.ui.explainMode": "simple",
        "spark.sql.debug.maxToStringFields": "8",
        "spark.sql.streaming.metricsEnabled": "false",
        # PySpark looks up the line of our code for each column that we name, and tells the JVM: that takes longer than
        # making the column, and a merge makes some thousand.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
    }
    if "://" not in settings.checkpoints:
        # A plain rename is atomic on a local file system; the default writes a second copy (75 -> 14 ms a file).
        conf["spark.sql.streaming.checkpointFileManagerClass"] = (
            "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
        )
    return conf
