"""Airflow on one machine: a home of its own under `<home>/airflow`, never the database of a live scheduler.

Variables `AIRFLOW_*` of the caller are not passed on: one of them could name the database of the company's Airflow.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from lakehouse.errors import LakehouseError
from lakehouse.settings import PREFIX, PROJECT_ROOT, Settings
from orchestration.causes import cause_of

DAGS = PROJECT_ROOT / "orchestration" / "dags"
SPARK_CONNECTION = "lakehouse_spark"
RETRY_SECONDS_VARIABLE = f"{PREFIX}NIGHT_RETRY_SECONDS"
"""Environment variable for another delay between tries, on a laptop; the number of tries is never changed."""
MARKER = "database.version"


class AirflowMissing(LakehouseError):
    """The environment has no Airflow."""

    def __init__(self) -> None:
        super().__init__(
            "Airflow is not installed in this environment: expected the extra `orchestration`; `make setup`."
        )


class AirflowHomeBroken(LakehouseError):
    """Airflow's own database could not be made."""

    def __init__(self, home: Path, cause: str) -> None:
        super().__init__(f"Airflow's database in {home} could not be made: {cause}. Delete that folder and try again.")


def airflow_home(settings: Settings) -> Path:
    """Folder of Airflow's configuration, database and task logs."""
    return settings.home / "airflow"


def variables(settings: Settings) -> dict[str, str]:
    """What Airflow must find in its environment to run our DAGs; holds no secret."""
    connection = {"conn_type": "spark", "host": settings.spark_master, "extra": {"spark-binary": "spark-submit"}}
    return {
        "AIRFLOW_HOME": str(airflow_home(settings)),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        f"AIRFLOW_CONN_{SPARK_CONNECTION.upper()}": json.dumps(connection),
        f"{PREFIX}HOME": str(settings.home),
    }


def environment(settings: Settings) -> dict[str, str]:
    """The whole environment of an Airflow process: the caller's without its `AIRFLOW_*`, and ours."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    # spark-submit, airflow and python come from the environment that runs this, however it was called.
    path = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}"
    return inherited | variables(settings) | {"PATH": path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def make_database(settings: Settings) -> None:
    """Make Airflow's SQLite database once per version. Raises `AirflowMissing` or `AirflowHomeBroken`."""
    if importlib.util.find_spec("airflow") is None:
        raise AirflowMissing
    home = airflow_home(settings)
    marker, version = home / MARKER, importlib.metadata.version("apache-airflow")
    if marker.is_file() and marker.read_text("utf-8") == version:
        return
    home.mkdir(parents=True, exist_ok=True)
    if not marker.is_file():
        # An earlier start died before it was complete, and SQLite can't undo half a migration. It held no history yet.
        (home / "airflow.db").unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AirflowHomeBroken(home, cause_of(done.stderr or done.stdout))
    marker.write_text(version, "utf-8")
