"""The Spark session of a driver."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

from lakehouse.settings import Settings
from lakehouse.spark_conf import require_java, spark_conf

LAUNCHED_BY_SUBMIT = "PYSPARK_GATEWAY_PORT"
"""Set by spark-submit, whose JVM runs before our Python does."""


def build_session(settings: Settings, app_name: str, conf: dict[str, str] | None = None) -> SparkSession:
    """Start Spark (or take the running session) for `app_name`; `conf` wins over the defaults. Raises `JavaUnfit`."""
    if SparkSession.getActiveSession() is None and LAUNCHED_BY_SUBMIT not in os.environ:
        # Without one, Spark's launcher ends with two stack traces, one of Java's and one of Python's.
        require_java()
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # Spark hands moments to Python, and takes them, in the local time of the process: where the clocks change, one hour
    # a year would come back as another.
    os.environ["TZ"] = "UTC"
    time.tzset()
    Path(settings.home / "spark-local").mkdir(parents=True, exist_ok=True)
    builder = SparkSession.builder.appName(app_name)
    for name, value in (spark_conf(settings) | (conf or {})).items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    point_at_store(spark, settings)
    # PySpark looks at the frames of its callers, and a frame that was looked at is garbage only to Python's slowest
    # collection: until then it holds its DataFrames, and they the state of tables in the JVM. What is loaded by now
    # lives as long as the driver; left out of it, that collection comes often and is quick.
    gc.collect()
    gc.freeze()
    return spark


def point_at_store(spark: SparkSession, settings: Settings) -> None:
    """Give the session the S3-compatible store of the settings: address and keys."""
    # After the start: the builder's values become arguments of the JVM's command line, which every user can read.
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    hadoop.set("fs.s3a.endpoint.region", settings.s3_region)
    if settings.s3_endpoint:
        hadoop.set("fs.s3a.endpoint", settings.s3_endpoint)
        hadoop.set("fs.s3a.path.style.access", "true")
        hadoop.set("fs.s3a.connection.ssl.enabled", str(settings.s3_endpoint.startswith("https")).lower())
    access, secret = settings.s3_access_key.get_secret_value(), settings.s3_secret_key.get_secret_value()
    if access and secret:
        hadoop.set("fs.s3a.access.key", access)
        hadoop.set("fs.s3a.secret.key", secret)
