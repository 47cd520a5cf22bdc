"""The policy of the nightly DAG, asked from the DAG itself in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DAG_FILE = Path(__file__).parents[2] / "orchestration" / "dags" / "lakehouse_nightly.py"
LOAD_LIMIT_SECONDS = 5.0

ASK = """
import json, runpy, sys, time
import airflow.sdk, airflow.providers.apache.spark.operators.spark_submit, pydantic_settings
before, started = set(sys.modules), time.process_time()
dag = runpy.run_path(sys.argv[1])["dag"]
seconds = time.process_time() - started
print(json.dumps({
    "dag_id": dag.dag_id, "doc_md": dag.doc_md, "catchup": dag.catchup, "max_active_runs": dag.max_active_runs,
    "schedule": dag.schedule, "zone": dag.timezone.name, "params": list(dag.params), "seconds": seconds,
    "engines": sorted({m.split(".")[0] for m in sys.modules} & {"pyspark", "delta", "deltalake", "great_expectations"}),
    "tasks": [{
        "id": task.task_id, "retries": task.retries, "retry_seconds": task.retry_delay.total_seconds(),
        "callbacks": [type(one).__mro__[1].__name__ for one in task.on_failure_callback], "doc_md": task.doc_md,
        "owner": task.owner, "upstream": sorted(task.upstream_task_ids), "kind": task.task_type,
        "arguments": getattr(task, "application_args", None), "application": getattr(task, "application", None),
        "environment": getattr(task, "env_vars", None), "rule": str(task.trigger_rule.value),
        "limit_seconds": task.execution_timeout.total_seconds(),
    } for task in dag.tasks],
}))
"""


@pytest.fixture(scope="module")
def nightly(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LAKEHOUSE"))}
    secrets = {"LAKEHOUSE_SLACK_WEBHOOK": "http://127.0.0.1/very-secret", "LAKEHOUSE_S3_SECRET_KEY": "very-secret"}
    places = {"AIRFLOW_HOME": str(home), "LAKEHOUSE_HOME": str(home), "LAKEHOUSE_BUSINESS_TIME_ZONE": "Europe/Paris"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(DAG_FILE)],
        env=inherited | secrets | places,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def test_it_fires_at_six_in_the_business_zone(nightly: dict[str, Any]) -> None:
    assert (nightly["schedule"], nightly["zone"]) == ("0 6 * * *", "Europe/Paris")


def test_one_run_at_a_time_and_no_catching_up(nightly: dict[str, Any]) -> None:
    assert nightly["max_active_runs"] == 1
    assert nightly["catchup"] is False


def test_every_task_is_tried_again_twice_after_five_minutes(nightly: dict[str, Any]) -> None:
    assert {(task["retries"], task["retry_seconds"]) for task in nightly["tasks"]} == {(2, 300.0)}


def test_every_task_alerts_through_a_notifier_and_has_an_owner_and_a_limit(nightly: dict[str, Any]) -> None:
    assert {tuple(task["callbacks"]) for task in nightly["tasks"]} == {("BaseNotifier",)}
    assert {task["owner"] for task in nightly["tasks"]} == {"data-engineering"}
    assert all(task["limit_seconds"] > 0 for task in nightly["tasks"])


def test_every_task_says_that_it_may_be_repeated(nightly: dict[str, Any]) -> None:
    assert [task["id"] for task in nightly["tasks"] if not task["doc_md"].startswith("**idempotent**")] == []


def test_the_page_answers_what_is_asked_at_three_in_the_morning(nightly: dict[str, Any]) -> None:
    for question in ("**Feeds**", "Is it safe to run again?", "It failed. What now?"):
        assert question in nightly["doc_md"]


def test_the_steps_stand_in_order_and_only_good_steps_lead_on(nightly: dict[str, Any]) -> None:
    order = {task["id"]: task["upstream"] for task in nightly["tasks"]}
    assert order == {"bronze": [], "silver_and_gold": ["bronze"], "report_and_notify": ["silver_and_gold"]}
    # A last task that runs in any case would make a failed night look complete.
    assert {task["rule"] for task in nightly["tasks"]} == {"all_success"}


def test_spark_steps_go_through_the_spark_provider_with_the_date_on_purpose(nightly: dict[str, Any]) -> None:
    steps = [task for task in nightly["tasks"] if task["kind"] == "SparkSubmitOperator"]
    assert [task["id"] for task in steps] == ["bronze", "silver_and_gold"]
    for task in steps:
        assert Path(task["application"]).is_file()
        names = task["id"].split("_and_")
        assert task["arguments"][: len(names) + 2] == [
            *names,
            "--business-date",
            "{{ business_date(params, dag_run) }}",
        ]
        assert "{{ ds }}" not in str(task["arguments"])


def test_no_secret_is_in_what_airflow_shows(nightly: dict[str, Any]) -> None:
    assert "very-secret" not in json.dumps(nightly)
    assert {"LAKEHOUSE_HOME", "PYSPARK_PYTHON"} <= set(nightly["tasks"][0]["environment"])


def test_reading_the_dag_loads_no_engine_and_is_quick(nightly: dict[str, Any]) -> None:
    assert nightly["engines"] == []
    assert nightly["seconds"] < LOAD_LIMIT_SECONDS


def test_the_business_date_is_a_parameter(nightly: dict[str, Any]) -> None:
    assert nightly["params"] == ["business_date"]


def test_the_file_holds_the_words_by_which_airflow_finds_it() -> None:
    words = DAG_FILE.read_text("utf-8").lower()
    assert "airflow" in words
    assert "dag" in words
