"""What runs and streams tell Prometheus, and that the alarms ask for nothing else."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from lakehouse import metrics, pushed_metrics
from lakehouse.ledger_entry import Entry
from lakehouse.settings import Settings
from lakehouse.stream_progress import ProgressMetrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "infra" / "prometheus" / "rules.yml"
# A name that is followed by braces, a bracket, an operator or the end; not a function, a label or a keyword.
IDENTIFIER = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset"}


class Gateway:
    """Records what is pushed."""

    def __init__(self) -> None:
        self.pushed: list[tuple[str, str, str]] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                gateway.pushed.append((self.command, self.path, body))
                self.send_response(200)
                self.end_headers()

            do_PUT = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                return

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    started = Gateway()
    yield started
    started.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def metric_names(expression: str) -> set[str]:
    """The metric names of a PromQL expression."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    return {
        found.group()
        for found in IDENTIFIER.finditer(bare)
        if found.group() not in WORDS and not bare[found.end() :].lstrip().startswith("(")
    }


def exported_names() -> set[str]:
    """Every name that our registries can show, with the suffixes of counters and histograms."""
    metrics.count_batch(Entry("any", "q", 0, (), 1, 1, 1, warned={"any": 1}, last_event_at="2026-11-23T09:00:00"), 0.1)
    metrics.observe_progress("any", 0)
    metrics.quarantine_backlog("any", {"bad_framing": (1, 0.0)})
    metrics.observe_slot("any", "reserved", 0)
    metrics.alerts_waiting(0)
    metrics.bucket_listed()
    samples = {sample.name for family in metrics.STREAMS.collect() for sample in family.samples}
    pushed = pushed_metrics.PIPELINE | pushed_metrics.DRIVER | pushed_metrics.RECONCILED | pushed_metrics.SOURCE
    return samples | set(pushed)


def alarms() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_a_run_is_pushed_under_its_pipeline(gateway: Gateway) -> None:
    settings = Settings(pushgateway_url=gateway.url)
    pushed_metrics.push_run(settings, "night_gold", 12.5, 300, 97.25)
    ((method, path, body),) = gateway.pushed
    assert (method, path) == ("POST", "/metrics/job/lakehouse/pipeline/night_gold")
    assert 'pipeline_duration_seconds{pipeline="night_gold"} 12.5' in body
    assert 'pipeline_records_processed{pipeline="night_gold"} 300.0' in body
    assert 'pipeline_quality_score{pipeline="night_gold"} 97.25' in body
    assert 'pipeline_is_failed{pipeline="night_gold"} 0.0' in body
    assert "pipeline_last_success_timestamp_seconds" in body


def test_a_comparison_is_pushed_by_table_and_moves_the_time_only_of_those_that_agree(gateway: Gateway) -> None:
    settings = Settings(pushgateway_url=gateway.url)
    pushed_metrics.push_reconciliation(settings, {"orders": 0, "products": 3}, {"orders": 1_790_000_000.0})
    (_, orders, agrees), (_, products, differs) = gateway.pushed
    assert (orders, products) == ("/metrics/job/lakehouse/table/orders", "/metrics/job/lakehouse/table/products")
    assert 'reconciliation_differing_buckets{table="orders"} 0.0' in agrees
    assert 'reconciliation_verified_timestamp_seconds{table="orders"} 1.79e+09' in agrees
    assert 'reconciliation_differing_buckets{table="products"} 3.0' in differs
    assert "verified_timestamp" not in differs


def test_a_driver_that_stopped_itself_says_so(gateway: Gateway) -> None:
    settings = Settings(pushgateway_url=gateway.url)
    pushed_metrics.push_driver(settings, ["orders_changes"], has_stopped_itself=True)
    # It goes on in a group of more streams.
    pushed_metrics.push_driver(settings, ["click_events", "orders_changes"], has_stopped_itself=False)
    (_, stopped, body), (_, clicks, _), (_, runs, later) = gateway.pushed
    assert stopped == runs == "/metrics/job/lakehouse/stream/orders_changes"
    assert clicks == "/metrics/job/lakehouse/stream/click_events"
    assert 'stream_has_stopped_itself{stream="orders_changes"} 1.0' in body
    assert 'stream_has_stopped_itself{stream="orders_changes"} 0.0' in later


def test_a_gateway_that_is_down_is_asked_once_for_all_streams(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(pushgateway_url=f"http://127.0.0.1:{free_port()}")
    pushed_metrics.push_driver(settings, ["one", "two", "three"], has_stopped_itself=True)
    assert caplog.messages.count("metrics_not_pushed") == 1


def test_a_night_tells_how_it_found_the_source(gateway: Gateway) -> None:
    pushed_metrics.push_source(Settings(pushgateway_url=gateway.url), "unreserved", 2_000_000_000, False, gaps=2)
    ((_, path, body),) = gateway.pushed
    assert path == "/metrics/job/lakehouse/source/postgres"
    assert 'source_slot_retained_bytes{slot="lakehouse"} 2e+09' in body
    assert 'source_slot_wal_status{slot="lakehouse",status="unreserved"} 1.0' in body
    assert 'source_slot_wal_status{slot="lakehouse",status="reserved"} 0.0' in body
    assert "source_incarnation_differs 0.0" in body
    assert "source_gaps_open 2.0" in body


def test_the_page_shows_the_time_of_the_newest_event() -> None:
    # With its zone, as it is written now, and without, as earlier versions wrote it.
    for text in ("2026-11-23T11:00:00.5+02:00", "2026-11-23T09:00:00.5+00:00", "2026-11-23T09:00:00.5"):
        metrics.count_batch(Entry(text, "q", 0, (), 1, 1, 1, last_event_at=text), 0.1)
        assert gauge("stream_last_event_timestamp_seconds", text) == 1_795_424_400.5


def test_a_failed_run_leaves_score_and_last_success_as_they_are(gateway: Gateway) -> None:
    pushed_metrics.push_run(Settings(pushgateway_url=gateway.url), "night_silver", 1.0, 0, succeeded=False)
    ((_, _, body),) = gateway.pushed
    assert 'pipeline_is_failed{pipeline="night_silver"} 1.0' in body
    assert "pipeline_quality_score" not in body
    assert "pipeline_last_success" not in body


def test_a_gateway_that_is_down_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    pushed_metrics.push_run(Settings(pushgateway_url=f"http://127.0.0.1:{free_port()}"), "night_gold", 1.0, 1)
    assert "metrics_not_pushed" in caplog.messages


def test_a_gateway_that_does_not_answer_costs_a_bounded_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushed_metrics, "PUSH_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        pushed_metrics.push_run(
            Settings(pushgateway_url=f"http://127.0.0.1:{silent.getsockname()[1]}"), "night", 1.0, 1
        )
    assert time.monotonic() - started < 5
    assert "metrics_not_pushed" in caplog.messages


def test_nothing_is_pushed_without_a_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(pushed_metrics, "pushadd_to_gateway", lambda address, **_: told.append(address))
    for address in ("", "http://gateway"):
        pushed_metrics.push_run(Settings(pushgateway_url=address), "night_gold", 1.0, 1, 100.0)
    assert told == ["http://gateway"]


def test_the_page_counts_a_batch_by_what_became_of_its_rows() -> None:
    port = free_port()
    metrics.serve(Settings(metrics_port=port))
    entry = Entry(
        "stream_of_test", "q", 3, (), 10, 10, 6, {"missing_sku": 3}, {"tombstone": 1}, warned={"odd_email": 2}
    )
    metrics.count_batch(entry, 0.5)
    metrics.observe_progress("stream_of_test", 42)
    metrics.count_objects({"outcome_of_test": 7})
    text = page(port)
    assert 'stream_rows_total{outcome="written",stream="stream_of_test"} 6.0' in text
    assert 'stream_rows_total{outcome="quarantined",stream="stream_of_test"} 3.0' in text
    assert 'stream_rows_total{outcome="filtered",stream="stream_of_test"} 1.0' in text
    assert 'stream_row_warnings_total{rule="odd_email",stream="stream_of_test"} 2.0' in text
    assert 'stream_batch_seconds_count{stream="stream_of_test"} 1.0' in text
    assert 'stream_offsets_behind_latest{stream="stream_of_test"} 42.0' in text
    assert 'click_objects_total{outcome="outcome_of_test"} 7.0' in text
    with pytest.raises(metrics.MetricsPortBusy, match=str(port)):
        metrics.serve(Settings(metrics_port=port))


def test_what_may_go_wrong_is_on_the_page_before_it_does() -> None:
    metrics.begin_at_zero({"new_stream": ("rule_of_test",)}, ("fault_of_test",))

    def value(name: str, **labels: str) -> float | None:
        return metrics.STREAMS.get_sample_value(name, labels)

    assert value("stream_rows_total", stream="new_stream", outcome="quarantined") == 0
    assert value("stream_row_warnings_total", stream="new_stream", rule="rule_of_test") == 0
    assert value("click_objects_total", outcome="fault_of_test") == 0


def test_every_metric_that_an_alarm_asks_for_is_exported() -> None:
    asked = {name for alarm in alarms() for name in metric_names(alarm["expr"])}
    assert asked - exported_names() == {"up"}, "Prometheus' own, for each page that it reads"
    assert {"stream_rows_total", "stream_offsets_behind_latest", "pipeline_quality_score"} <= asked


def test_names_are_read_out_of_an_expression() -> None:
    expression = 'sum by (stream) (rate(a_total{x="b"}[5m])) / on (stream) c > 0.05 and deriv(d[15m]) > 0'
    assert metric_names(expression) == {"a_total", "c", "d"}


@pytest.mark.parametrize("alarm", alarms(), ids=lambda alarm: str(alarm["alert"]))
def test_every_alarm_has_a_severity_and_a_runbook_that_names_it(alarm: dict[str, Any]) -> None:
    assert alarm["labels"]["severity"] in {"page", "ticket"}
    assert alarm["annotations"]["summary"]
    runbook = ROOT / alarm["annotations"]["runbook"]
    assert alarm["alert"] in runbook.read_text("utf-8").splitlines()[0]


def event(**values: Any) -> Any:
    return SimpleNamespace(**values)


def gauge(name: str, stream: str) -> float | None:
    return metrics.STREAMS.get_sample_value(name, {"stream": stream})


def test_progress_tells_the_distance_of_the_partition_furthest_behind() -> None:
    sources = [event(metrics={"maxOffsetsBehindLatest": "7"}), event(metrics={"maxOffsetsBehindLatest": "31"})]
    ProgressMetrics().onQueryProgress(event(progress=event(name="lagging", id="q", sources=sources)))
    assert gauge("stream_offsets_behind_latest", "lagging") == 31


def test_a_stream_without_new_rows_is_alive_and_not_behind() -> None:
    listener = ProgressMetrics()
    listener.onQueryStarted(event(runId="r", id="q", name="quiet"))
    before = time.time()
    listener.onQueryIdle(event(runId="r"))
    at = gauge("stream_last_batch_timestamp_seconds", "quiet")
    assert at is not None
    assert at >= before
    assert gauge("stream_offsets_behind_latest", "quiet") == 0


def test_a_stream_that_ended_keeps_its_last_moment() -> None:
    listener = ProgressMetrics()
    listener.onQueryStarted(event(runId="r2", id="q", name="ended"))
    listener.onQueryIdle(event(runId="r2"))
    listener.onQueryTerminated(event(runId="r2"))
    at = gauge("stream_last_batch_timestamp_seconds", "ended")
    listener.onQueryIdle(event(runId="r2"))
    assert gauge("stream_last_batch_timestamp_seconds", "ended") == at
