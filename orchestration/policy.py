"""What every task of ours has in common: retries, owner, alerts, how a Spark step is submitted, which day is meant.

DAG files are read again and again by the scheduler, so nothing here (or in them) imports Spark, Delta or Great
Expectations: the steps run in processes of their own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from lakehouse.settings import PREFIX, PROJECT_ROOT, Settings
from orchestration.airflow_home import RETRY_SECONDS_VARIABLE, SPARK_CONNECTION
from orchestration.messages import NightFailed
from orchestration.spark_properties import properties_file

OWNER = "data-engineering"
RETRIES = 2
RETRY_DELAY = timedelta(minutes=5)
STEP_LIMIT = timedelta(hours=3)
IDEMPOTENT = "idempotent"
"""Opening of each task's documentation; the policy test asks for it."""


def default_args() -> dict[str, Any]:
    """Arguments of every task: two retries five minutes apart, one alert after the last of them."""
    return {
        "owner": OWNER,
        "retries": RETRIES,
        "retry_delay": retry_delay(),
        "execution_timeout": STEP_LIMIT,
        "on_failure_callback": [NightFailed()],
        "depends_on_past": False,
    }


def retry_delay() -> timedelta:
    """Five minutes, or the seconds named by `LAKEHOUSE_NIGHT_RETRY_SECONDS`. Raises ValueError if that is no number."""
    seconds = os.environ.get(RETRY_SECONDS_VARIABLE)
    return timedelta(seconds=float(seconds)) if seconds else RETRY_DELAY


def spark_task(steps: Sequence[str], settings: Settings, doc_md: str) -> SparkSubmitOperator:
    """The task that runs some steps in one driver: Bronze is the streams' step, the rest are the batch's.

    Each start of a driver costs 15 to 35 seconds on two cores, so steps of one room share one.
    """
    room = "streaming" if "bronze" in steps else "batch"
    return SparkSubmitOperator(
        task_id="_and_".join(steps),
        conn_id=SPARK_CONNECTION,
        name=f"lakehouse-night-{'-'.join(steps)}",
        application=str(PROJECT_ROOT / room / "night.py"),
        application_args=[
            *steps,
            "--business-date",
            "{{ business_date(params, dag_run) }}",
            "--run-id",
            "{{ run_id }}",
        ],
        properties_file=str(properties_file(settings)),
        # Addresses of files, no secrets: the step reads its settings itself, from its environment and env files.
        env_vars=step_environment(settings),
        # Re-attaching needs a driver inside the cluster; in client mode the job is gone, and steps are safe to repeat.
        durable=False,
        doc_md=f"**{IDEMPOTENT}**: {doc_md}",
    )


def step_environment(settings: Settings) -> dict[str, str]:
    """Environment of a step besides the worker's own. Holds no secret: Airflow shows it in its pages."""
    return {
        f"{PREFIX}HOME": str(settings.home),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
    }
