"""The notifier against a real broker: nothing lost and nothing repeated when it is stopped, killed or replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import waiting
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from lakehouse.kafka_config import client_config
from lakehouse.settings import Settings
from streaming import alert_source, notifier
from streaming.deliveries import Deliveries, NotifierReplaced, State, notifier_id
from tests.slack_stand_in import Hook, slack_stand_in

pytestmark = pytest.mark.integration
LIMIT_SECONDS = 60.0
until = partial(waiting.until, seconds=LIMIT_SECONDS, pause=0.02)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with slack_stand_in() as server:
        yield server


@pytest.fixture
def alerts(stack: Settings, hook: Hook, tmp_path: Path) -> Settings:
    """Settings with an alerts topic of the test's own, and its webhook."""
    topic = f"alerts-{uuid.uuid4().hex[:8]}"
    compacted = {"cleanup.policy": "compact"}
    topics = [NewTopic(topic, 1), NewTopic(f"{topic}.deliveries", 1, config=compacted)]
    admin = AdminClient(client_config(stack))
    for made in admin.create_topics(topics).values():
        made.result(LIMIT_SECONDS)
    return stack.model_copy(update={"alerts_topic": topic, "slack_webhook": hook.address, "home": tmp_path})


def publish(settings: Settings, *numbers: int) -> None:
    producer = Producer(client_config(settings))
    for number in numbers:
        alert = {
            "alert_id": f"a{number}",
            "episode_id": "e",
            "kind": "opened",
            "sku": f"SKU-{number}",
            "warehouse_id": "LDN",
            "on_hand": 3,
            "reorder_point": 20,
            "sequence": number,
            "occurred_at": "2026-11-23T09:00:00Z",
        }
        producer.produce(settings.alerts_topic, key="e", value=json.dumps(alert))
    assert producer.flush(LIMIT_SECONDS) == 0


def send_all(settings: Settings) -> dict[str, int]:
    return dict(notifier.run(settings, threading.Event(), until_caught_up=True))


def told(hook: Hook) -> list[str]:
    """Which product each message is about, in order."""
    return [message["text"].partition("`")[2].partition("`")[0] for message in hook.received]


def committed(settings: Settings) -> int:
    consumer = Consumer(client_config(settings) | {"group.id": notifier_id(settings)})
    try:
        return int(consumer.committed([TopicPartition(settings.alerts_topic, 0)], timeout=LIMIT_SECONDS)[0].offset)
    finally:
        consumer.close()


def start_process(settings: Settings) -> subprocess.Popen[str]:
    """`lakehouse notify` in a process of its own, reaching the same broker and webhook."""
    given: dict[str, Any] = {
        "LAKEHOUSE_HOME": str(settings.home),
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "LAKEHOUSE_ALERTS_TOPIC": settings.alerts_topic,
        "LAKEHOUSE_SLACK_WEBHOOK": settings.slack_webhook.get_secret_value(),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LAKEHOUSE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "lakehouse.cli", "notify"], env=inherited | given, stderr=subprocess.PIPE, text=True
    )


def test_each_alert_arrives_once_and_not_again_after_a_restart(alerts: Settings, hook: Hook) -> None:
    publish(alerts, 1, 2, 3)
    assert send_all(alerts) == {"sent": 3}
    assert send_all(alerts) == {}
    publish(alerts, 2, 4)
    assert send_all(alerts) == {"sent": 1}
    assert told(hook) == ["SKU-1", "SKU-2", "SKU-3", "SKU-4"]
    assert committed(alerts) == 5


def test_what_the_notifier_is_not_done_with_is_counted(alerts: Settings) -> None:
    assert alert_source.waiting(alerts) == 0
    publish(alerts, 1, 2)
    assert alert_source.waiting(alerts) == 2
    send_all(alerts)
    publish(alerts, 3)
    assert alert_source.waiting(alerts) == 1
    # Retention has taken all of them: none waits any more.
    admin = AdminClient(client_config(alerts))
    admin.delete_records([TopicPartition(alerts.alerts_topic, 0, 3)])[TopicPartition(alerts.alerts_topic, 0)].result(30)
    assert alert_source.waiting(alerts) == 0


def test_an_idle_notifier_keeps_its_offsets(alerts: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # The broker forgets those of a group that commits none for a week.
    publish(alerts, 1)
    send_all(alerts)
    kept: list[list[int]] = []
    really_record = Deliveries.record

    def record(memory: Deliveries, entries: Any, done: Any = None) -> None:
        really_record(memory, entries, done)
        kept.append([one.offset for one in done.offsets])

    monkeypatch.setattr(notifier, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(Deliveries, "record", record)
    stop = threading.Event()
    running = threading.Thread(target=notifier.run, args=(alerts, stop))
    running.start()
    try:
        until(lambda: bool(kept))
    finally:
        stop.set()
        running.join(LIMIT_SECONDS)
    assert kept[0] == [1]
    assert alert_source.waiting(alerts) == 0


def test_dying_after_the_message_and_before_its_record_repeats_it_marked(
    alerts: Settings, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(alerts, 1, 2)
    really_post = notifier.post

    def post_and_die(webhook: Any, message: dict[str, Any]) -> None:
        really_post(webhook, message)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(notifier, "post", post_and_die)
        with pytest.raises(SystemExit):
            send_all(alerts)
    assert committed(alerts) < 0
    assert send_all(alerts) == {"sent": 2}
    assert told(hook) == ["SKU-1", "SKU-1", "SKU-2"]
    assert ["repeat" in message["text"] for message in hook.received] == [False, True, False]


def test_a_notifier_killed_while_slack_is_away_loses_nothing(alerts: Settings, hook: Hook) -> None:
    publish(alerts, 1, 2, 3)
    hook.answers = [(503, {"Retry-After": "0.05"}, "")] * 10_000
    process = start_process(alerts)
    until(lambda: len(hook.received) > 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hook.answers, hook.received = [], []
    assert send_all(alerts) == {"sent": 3}
    assert told(hook) == ["SKU-1", "SKU-2", "SKU-3"]


def test_a_notifier_stops_on_sigterm_and_never_logs_the_webhook(alerts: Settings, hook: Hook) -> None:
    publish(alerts, 1)
    hook.answers = [(500, {"Retry-After": "0.05"}, ""), (0, {}, ""), (429, {"Retry-After": "0.05"}, "")]
    process = start_process(alerts)
    until(lambda: len(hook.received) == 4)
    publish(alerts, 2)
    until(lambda: len(hook.received) == 5)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0
    assert "notifier_stopped" in log
    assert "very-secret" not in log
    assert committed(alerts) == 2


def test_a_newer_notifier_shuts_the_older_one_out(alerts: Settings) -> None:
    older = Deliveries(alerts)
    newer = Deliveries(alerts)
    newer.record({"a1": {"state": State.SENT}})
    with pytest.raises(NotifierReplaced):
        older.record({"a1": {"state": State.SENDING}})
    assert Deliveries(alerts).state("a1") == State.SENT


def test_what_a_killed_notifier_left_open_is_not_remembered(alerts: Settings) -> None:
    killed = Deliveries(alerts)
    killed._producer.begin_transaction()
    killed._producer.produce(killed.topic, key="a1", value=json.dumps({"state": "sent", "at": "x"}))
    killed._producer.flush(LIMIT_SECONDS)
    assert Deliveries(alerts).state("a1") is None


def test_an_alert_that_slack_refused_is_sent_again_on_request(alerts: Settings, hook: Hook) -> None:
    publish(alerts, 1, 2)
    hook.answers = [(404, {}, "no_service")]
    assert send_all(alerts) == {"rejected": 1, "sent": 1}
    assert dict(notifier.run(alerts, threading.Event(), until_caught_up=True, resend=True)) == {"sent": 1}
    assert told(hook) == ["SKU-1", "SKU-2", "SKU-1"]
    assert Deliveries(alerts).parked() == []


def test_an_alert_that_slack_refused_after_a_lost_answer_is_sent_again_marked(alerts: Settings, hook: Hook) -> None:
    publish(alerts, 1)
    hook.answers = [(500, {"Retry-After": "0"}, ""), (404, {}, "no_service")]
    assert send_all(alerts) == {"rejected": 1}
    assert dict(notifier.run(alerts, threading.Event(), until_caught_up=True, resend=True)) == {"sent": 1}
    assert "Possible repeat" in hook.received[-1]["text"]
