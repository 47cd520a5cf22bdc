"""Silver to the Gold candidate: one `dbt build` in this driver's own session. Only the checks read the candidate.

The catalog is in memory: Silver and the candidate of the last night are registered by path first, so that dbt sees what
exists and merges into it. A build that was killed is healed by the next: each model replaces its table in one commit or
merges by key, and what a first build left without a commit is removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession

from batch import catalog, dbt_outcome
from batch.marts import candidate
from lakehouse import delta_io
from lakehouse.errors import StepFailed, TableMissing
from lakehouse.identifiers import run_id as checked_run_id
from lakehouse.logs import get_logger
from lakehouse.settings import PROJECT_ROOT, Settings
from lakehouse.tables import CUSTOMERS, INVENTORY_LEVELS, MARTS, ORDERS, PRODUCTS, QUALITY_RESULTS, SESSIONS

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

log = get_logger(__name__)

PROJECT = PROJECT_ROOT / "dbt"
SOURCES = (
    ORDERS.silver,
    CUSTOMERS.silver,
    PRODUCTS.silver,
    CUSTOMERS.deleted,
    PRODUCTS.deleted,
    INVENTORY_LEVELS,
    SESSIONS,
)
"""The Silver tables that dbt/models/staging/sources.yml names."""


def build_candidate(spark: SparkSession, settings: Settings, business_date: date, run_id: str) -> None:
    """Build and test every model as of `business_date`; the results of the tests go to `ops.quality_results`.

    Safe to run again. Raises `TableMissing` without Silver, and `StepFailed` with each failed node and its message.
    """
    checked_run_id(run_id)
    register_sources(spark, settings)
    arguments = {"business_date": business_date.isoformat(), "warehouse": settings.warehouse}
    manifest = parse(settings, arguments)
    changed = register_candidates(spark, settings, manifest)
    # Unit tests compare models with rows of their own: they belong to `make test`, not to a night.
    command = ["build", "--exclude-resource-type", "unit_test"]
    if changed:
        log.info("candidate_rebuilt_from_scratch", tables=changed, reason="its columns are not those of the model")
        command.append("--full-refresh")
    results = run(settings, command, arguments, manifest)
    _record_tests(spark, settings, business_date, run_id, results)
    if failed := [dbt_outcome.sentence(result) for result in results if dbt_outcome.is_failure(result)]:
        raise StepFailed(
            f"{len(failed)} node(s) of the dbt project failed: {'; '.join(failed)}. "
            f"Readers stay on the last good version; the whole log is {settings.home}/dbt/logs/dbt.log."
        )


def register_sources(spark: SparkSession, settings: Settings) -> None:
    """Let dbt know Silver. Raises `TableMissing`."""
    for spec in SOURCES:
        if not delta_io.exists(spark, spec, settings):
            raise TableMissing(spec.name, spec.path(settings), delta_io.MADE_BY["silver"])
        catalog.register(spark, spec.name, spec.path(settings))


def register_candidates(spark: SparkSession, settings: Settings, manifest: Manifest) -> list[str]:
    """Let dbt know the candidate of an earlier night. Returns the tables whose columns are not those of their model."""
    changed = []
    for mart in MARTS:
        spec = candidate(mart)
        if delta_io.exists(spark, spec, settings):
            catalog.register(spark, spec.name, spec.path(settings))
            declared = list(manifest.nodes[f"model.lakehouse.{mart}"].columns)
            if spark.table(spec.name).columns != declared:
                changed.append(spec.name)
        else:
            catalog.forget(spark, spec.name)
            _remove_leftovers(spark, spec.path(settings))
    return changed


def parse(settings: Settings, arguments: dict[str, str]) -> Manifest:
    """The project as dbt understands it. Raises `StepFailed`."""
    return _invoke(settings, ["parse"], arguments, None)


def run(settings: Settings, command: Sequence[str], arguments: dict[str, str], manifest: Manifest | None) -> Any:
    """Run a dbt command in the running session, with `arguments` as its vars. Returns dbt's results, failed or not."""
    with _session_settings_kept():
        return _invoke(settings, command, arguments, manifest).results


def _invoke(settings: Settings, command: Sequence[str], arguments: dict[str, str], manifest: Manifest | None) -> Any:
    # Seconds of import, and only where dbt runs.
    from dbt.cli.main import dbtRunner

    home = settings.home / "dbt"
    places = {
        "project-dir": PROJECT,
        "profiles-dir": PROJECT,
        "target-path": home / "target",
        "log-path": home / "logs",
    }
    options = [text for name, place in places.items() for text in (f"--{name}", str(place))]
    quiet = ["--log-level", "none", "--no-use-colors", "--no-version-check", "--log-level-file", "info"]
    target = ["--target", "local", "--vars", json.dumps(arguments)]
    outcome = dbtRunner(manifest, callbacks=[dbt_outcome.log_finished_model]).invoke(
        [*quiet, *command, *options, *target]
    )
    if outcome.result is None:
        raise StepFailed(f"dbt {command[0]} did not start: {outcome.exception}. Look into {home}/logs/dbt.log.")
    return outcome.result


@contextmanager
def _session_settings_kept() -> Iterator[None]:
    # dbt-spark turns ANSI off in the session that it is lent, and what runs after it would get nulls for errors.
    spark = SparkSession.getActiveSession()
    assert spark is not None
    before = spark.conf.get("spark.sql.ansi.enabled")
    try:
        yield
    finally:
        spark.conf.set("spark.sql.ansi.enabled", str(before))


def _record_tests(
    spark: SparkSession, settings: Settings, business_date: date, run_id: str, results: Sequence[Any]
) -> None:
    tests = [result for result in results if dbt_outcome.is_test(result)]
    tables = {dbt_outcome.tested_table(result) for result in tests}
    counts = {name: spark.table(name).count() for name in tables if spark.catalog.tableExists(name)}
    facts = {"run_id": run_id, "business_date": business_date, "checked_at": datetime.now(UTC)}
    rows = [facts | dbt_outcome.quality_row(result, counts) for result in tests]
    values = [tuple(row[name] for name in QUALITY_RESULTS.columns) for row in rows]
    ours = f"run_id = '{run_id}' and layer = '{dbt_outcome.LAYER}' and startswith(check_name, '{dbt_outcome.PREFIX}')"
    frame = spark.createDataFrame(values, QUALITY_RESULTS.schema).coalesce(1)
    delta_io.overwrite(frame, QUALITY_RESULTS, settings, where=ours)


def _remove_leftovers(spark: SparkSession, path: str) -> None:
    # A first build that was killed leaves files without a commit, and Delta makes no table where files are.
    jvm = spark._jvm
    assert jvm is not None
    folder = jvm.org.apache.hadoop.fs.Path(path)
    files = folder.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    if files.exists(folder):
        log.warning("leftovers_removed", path=path)
        files.delete(folder, True)
