"""Following a night, ending it as a whole, and the files that it needs."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from lakehouse.settings import Settings
from orchestration import airflow_home, commands, processes, run_night
from orchestration.run_night import Progress
from orchestration.spark_properties import write_properties

AT = "2026-11-23T22:46:31.415076Z"
START = f"{AT} [info     ] [DAG TEST] starting task_id={{task}} map_index=-1 [airflow.sdk] loc=dag.py:1\n"
END = f"{AT} [info     ] [DAG TEST] end task task_id={{task}} map_index=-1 [airflow.sdk] loc=dag.py:2\n"
STATE = f"{AT} [info     ] Task instance state updated    [routes] loc=t.py:4 new_state={{state}}\n"
OUTPUT = f"{AT} [info     ] {{text}} [airflow.task.hooks.SparkSubmitHook] loc=spark_submit.py:965\n"

# A parent that ignores the polite signal, and a child in a process group of its own, as PySpark's daemon is.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import os, time; os.setpgid(0, 0); print('up', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child])
time.sleep(600)
"""


def follow(*lines: str) -> tuple[Progress, list[str]]:
    said: list[str] = []
    ticks = iter(range(100))
    progress = Progress(said.append, clock=lambda: float(next(ticks)))
    for line in lines:
        progress.read(line)
    return progress, said


def test_each_task_is_told_with_its_duration() -> None:
    progress, said = follow(START.format(task="bronze"), STATE.format(state="success"), END.format(task="bronze"))
    assert [line.split() for line in said] == [["bronze", "started"], ["bronze", "done", "in", "1.0", "s"]]
    assert progress.seconds == {"bronze": 1.0}
    assert progress.failed_task == ""


def test_a_try_that_failed_tells_its_cause_and_that_another_follows() -> None:
    progress, said = follow(
        START.format(task="silver"),
        OUTPUT.format(text="lakehouse: 1 check(s) of the silver layer failed"),
        OUTPUT.format(text="26/11/23 WARN noise"),
        STATE.format(state="up_for_retry"),
        END.format(task="silver"),
    )
    assert said[-1].endswith("failed after 1.0 s, will be tried again: 1 check(s) of the silver layer failed")
    assert (progress.failed_task, progress.last_cause()) == ("silver", "1 check(s) of the silver layer failed")


def test_an_end_outside_of_a_task_tells_the_last_exception() -> None:
    progress, _ = follow("Traceback (most recent call last):\n", "sqlalchemy.exc.OperationalError: disk full\n")
    assert progress.last_cause() == "sqlalchemy.exc.OperationalError: disk full"


def test_ending_a_session_ends_its_stubborn_members_and_nobody_else() -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    night = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert night.stdout is not None
    assert night.stdout.readline() == "up\n"
    try:
        assert len(processes.members(night.pid)) == 2
        assert processes.end(night.pid, grace_seconds=0.3) == 2
        night.wait(timeout=10)
        assert processes.members(night.pid) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        night.kill()
        night.wait()


def test_ending_a_session_that_is_gone_is_no_error() -> None:
    short = subprocess.Popen([sys.executable, "-c", "pass"], start_new_session=True)
    short.wait()
    assert processes.end(short.pid) == 0


def test_airflow_never_sees_the_variables_of_another_airflow(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://live-scheduler/airflow")
    monkeypatch.setenv("AIRFLOW_HOME", "/srv/airflow")
    given = airflow_home.environment(settings)
    assert "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in given
    assert given["AIRFLOW_HOME"] == str(settings.home / "airflow")
    assert given["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"


def test_what_airflow_shows_holds_no_secret(tmp_path: Path) -> None:
    secrets = {"slack_webhook": "very-secret", "kafka_sasl_password": "very-secret", "s3_secret_key": "very-secret"}
    settings = Settings(home=tmp_path, _env_file=None, **secrets)  # type: ignore[arg-type]
    assert "very-secret" not in str(airflow_home.variables(settings))


def test_the_properties_file_keeps_what_java_would_change(tmp_path: Path) -> None:
    path = tmp_path / "spark" / "night.conf"
    write_properties(path, {"spark.b": r"C:\jars", "spark.a": "-Dx=1 -Dy:2", "spark.c": " leading"})
    assert path.read_text() == "spark.a=-Dx=1 -Dy:2\nspark.b=C:\\\\jars\nspark.c=\\ leading\n"
    assert [file.name for file in path.parent.iterdir()] == ["night.conf"]


def test_a_night_of_a_day_that_has_not_come_is_refused_before_anything_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[date] = []

    def run(_: Settings, day: date, *__: Any) -> dict[str, float]:
        ran.append(day)
        return {}

    monkeypatch.setattr(run_night, "run", run)
    today = datetime.now(ZoneInfo(settings.business_time_zone)).date()
    # Two days: the test may run over midnight.
    future = today + timedelta(days=2)
    refused = CliRunner().invoke(commands.night, ["run", "--date", str(future)], obj=settings)
    assert isinstance(refused.exception, commands.DayHasNotCome)
    assert f"The night of {future} can't run yet" in str(refused.exception)
    assert ran == []
    assert CliRunner().invoke(commands.night, ["run", "--date", str(today)], obj=settings).exit_code == 0
    assert ran == [today]
