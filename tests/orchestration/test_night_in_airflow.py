"""The real DAG in a real Airflow; only `spark-submit` is replaced, by a script that notes how it was called."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from lakehouse.errors import LeaseHeld
from lakehouse.lease import hold
from lakehouse.settings import Settings
from orchestration import airflow_home, processes, run_night
from tests.slack_stand_in import Hook, slack_stand_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DAY = date(2026, 11, 22)
LIMIT_SECONDS = 450.0

SUBMIT = """#!/bin/sh
for last do :; done
step=$(echo "$*" | sed 's/.*night[a-z_]*\\.py \\([a-z]*\\) .*/\\1/')  # the first of them
echo "$*" >> "$NIGHT_CALLS"
if [ "$step" = "$NIGHT_FAILS_IN" ]; then echo "lakehouse: 1 check(s) of the $step layer failed: <orders>"; exit 1; fi
if [ "$step" = "$NIGHT_HANGS_IN" ]; then sleep 600; fi
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Airflow database for the module: making it takes longer than a night."""
    home = tmp_path_factory.mktemp("night-home")
    submit = home / "bin" / "spark-submit"
    submit.parent.mkdir()
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    return home


@pytest.fixture
def hook() -> Iterator[Hook]:
    with slack_stand_in() as server:
        yield server


@pytest.fixture
def here(home: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (home / "calls").write_text("")
    monkeypatch.setattr(run_night, "night_conf", lambda _: {"spark.master": "local[1]"})
    return Settings(home=home, slack_webhook=hook.address, _env_file=None)  # type: ignore[call-arg]


def environment(here: Settings, **more: str) -> dict[str, str]:
    given = airflow_home.environment(here)
    webhook = {"LAKEHOUSE_SLACK_WEBHOOK": here.slack_webhook.get_secret_value()}
    path = f"{here.home / 'bin'}{os.pathsep}{given['PATH']}"
    return given | webhook | {"PATH": path, "NIGHT_CALLS": str(here.home / "calls")} | more


def steps_called(here: Settings) -> list[str]:
    calls = (here.home / "calls").read_text().splitlines()
    return [call.split(".py ")[1].split(" --business-date")[0] for call in calls]


def test_a_good_night_runs_the_steps_for_the_date_and_tells_once(here: Settings, hook: Hook) -> None:
    said: list[str] = []
    seconds = run_night.run(here, DAY, said.append, environment=environment(here))
    assert list(seconds) == ["bronze", "silver_and_gold", "report_and_notify"]
    assert steps_called(here) == ["bronze", "silver gold"]
    call = (here.home / "calls").read_text()
    assert call.count("--business-date 2026-11-22 --run-id manual__") == 2
    assert call.count(f"--properties-file {here.home}/spark/night.conf") == 2
    assert "very-secret" not in call
    assert len(hook.received) == 1
    assert "is complete* for 2026-11-22" in hook.received[0]["text"]
    assert f"{here.home}/reports/2026-11-22.html" in hook.received[0]["text"]
    assert [line for line in said if "failed" in line] == []


def test_a_failing_step_is_tried_three_times_and_told_once(here: Settings, hook: Hook) -> None:
    with pytest.raises(
        run_night.NightNotComplete, match=r"failed in silver_and_gold: 1 check\(s\) of the silver layer"
    ) as caught:
        run_night.run(
            here, DAY, lambda _: None, retry_seconds=0, environment=environment(here, NIGHT_FAILS_IN="silver")
        )
    assert steps_called(here) == ["bronze", "silver gold", "silver gold", "silver gold"]
    assert len(hook.received) == 1
    assert "failed* for 2026-11-22, in step `silver_and_gold`" in hook.received[0]["text"]
    assert "1 check(s) of the silver layer failed: &lt;orders&gt;" in hook.received[0]["text"]
    log = next(word for word in str(caught.value).split() if word.endswith(".log"))
    assert "very-secret" not in Path(log).read_text()


def test_a_night_whose_command_was_killed_is_ended_by_the_next_one(here: Settings) -> None:
    script = (
        "import sys; from datetime import date; from orchestration import run_night; "
        "from lakehouse.settings import load_settings; run_night.night_conf = lambda _: {}; "
        "import json; run_night.run(load_settings(), date(2026, 11, 22), print, environment=json.loads(sys.argv[1]))"
    )
    variables = environment(here, NIGHT_HANGS_IN="bronze")
    killed = subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(variables)], env=variables, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not steps_called(here):
            assert time.monotonic() < deadline
            assert killed.poll() is None
            threading.Event().wait(0.05)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    session = int((here.home / "airflow" / "night.session").read_text())
    assert len(processes.members(session)) >= 2
    said: list[str] = []
    run_night.run(here, DAY, said.append, environment=environment(here))
    assert said[0].startswith("Ended ")
    assert processes.members(session) == []
    assert steps_called(here) == ["bronze", "bronze", "silver gold"]


def test_a_second_night_at_the_same_time_is_refused(here: Settings) -> None:
    with hold("night", here), pytest.raises(LeaseHeld, match="Another process already runs night"):
        run_night.run(here, DAY, lambda _: None)
    assert steps_called(here) == []
