"""Fixtures that all tests share: one warm Spark session for the run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from lakehouse.settings import Settings

SHARED_DATA = Path(os.environ.get("LAKEHOUSE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty home; reads neither the environment nor a running stack."""
    return Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """One session for all tests of a run; streams and merges in it use the home of the test's own `settings`."""
    from lakehouse.session import build_session
    from lakehouse.spark_conf import spark_conf

    own = Settings(home=tmp_path_factory.mktemp("spark-home"), _env_file=None)  # type: ignore[call-arg]
    conf = {
        # As in a short-lived driver, but for the optimizing compiler: this one lives for most of an hour.
        "spark.sql.adaptive.enabled": "false",
        # Each test makes tables of its own. Delta keeps the state of a table for an hour after its last use, some 5 MB
        # each and more: a hundred of them fill the heap.
        "spark.databricks.delta.delta.log.cacheSize": "16",
    }
    session = build_session(own, "tests", spark_conf(own) | conf)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The embedded stack, once per run, in a home and on ports of its own; yields the settings that reach it."""
    from infra.local.stack import running

    home = tmp_path_factory.mktemp("stack-home")
    kept = {"LAKEHOUSE_CACHE", "LAKEHOUSE_SHARED_DATA", "LAKEHOUSE_JAR_REPOSITORY"}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LAKEHOUSE_") and name not in kept]:
            patch.delenv(name)
        with running(home) as settings:
            yield settings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the tests that compare every count with the shop's account: later ones write to the same source."""
    items.sort(key=lambda item: "test_whole_way" not in item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer() -> Iterator[object]:
    """A timeout cuts a question to the Spark driver off before its answer, which the next question would take for its
    own: every later test would fail by it. So the thread asks over a new connection, and what still runs is ended.
    """
    result = yield
    expired = signal.getsignal(signal.SIGALRM)

    def ask_anew(number: int, frame: FrameType | None) -> None:
        from pyspark import SparkContext

        if running := SparkContext._active_spark_context:
            running._gateway._gateway_client.get_thread_connection().close()  # type: ignore[union-attr]
            running.cancelAllJobs()
        expired(number, frame)  # type: ignore[operator,misc]

    signal.signal(signal.SIGALRM, ask_anew)
    return result
