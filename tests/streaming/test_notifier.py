"""The notifier sends each alert once, in order, whatever Slack answers and whenever it is stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from lakehouse.slack import SlackRefused, SlackUnavailable
from streaming.alert_messages import read_alert
from streaming.alert_source import Letter
from streaming.deliveries import Progress, State
from streaming.notifier import DIGEST_ABOVE, Notifier

AT = datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC)


class Memory:
    """Deliveries in a dictionary; knows the progress that was recorded with them."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.done = 0

    def state(self, alert_id: str) -> State | None:
        entry = self.entries.get(alert_id)
        return State(entry["state"]) if entry else None

    def record(self, entries: Mapping[str, Mapping[str, Any]], done: Progress | None = None) -> None:
        self.entries |= {alert_id: dict(entry) for alert_id, entry in entries.items()}
        if done is not None:
            self.done = done.offsets[0]

    def states(self) -> dict[str, str]:
        return {alert_id: entry["state"] for alert_id, entry in self.entries.items()}


class Slack:
    """Takes messages; before that raises what it was told to raise, one for each call."""

    def __init__(self, *troubles: Exception | None) -> None:
        self.troubles = list(troubles)
        self.texts: list[str] = []

    def __call__(self, message: dict[str, Any]) -> None:
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        self.texts.append(message["text"])


def letter(offset: int, **values: object) -> Letter:
    fields = {
        "alert_id": f"a{offset}",
        "episode_id": "e",
        "kind": "opened",
        "sku": f"SKU-{offset}",
        "warehouse_id": "LDN",
        "on_hand": 4,
        "reorder_point": 20,
        "sequence": offset,
        "occurred_at": "2026-11-23T09:00:00Z",
    }
    return Letter(0, offset, json.dumps(fields | values).encode())


def behind(letters: Sequence[Letter]) -> Progress:
    return Progress([letters[-1].offset + 1], group=None)


def notifier(memory: Memory, slack: Slack | None, stop: threading.Event | None = None) -> Notifier:
    return Notifier(memory, slack, stop or threading.Event(), clock=lambda: AT)


def stopped() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop


def busy(may_have_arrived: bool = False) -> SlackUnavailable:
    return SlackUnavailable("503", retry_after=0.0, may_have_arrived=may_have_arrived)


def test_each_alert_is_one_message_in_order_with_its_delay() -> None:
    memory, slack = Memory(), Slack()
    notifier(memory, slack).deliver_window([letter(0), letter(1)], behind)
    assert ["`SKU-0`" in slack.texts[0], "`SKU-1`" in slack.texts[1]] == [True, True]
    assert "5.0 s after" in slack.texts[0]
    assert memory.states() == {"a0": "sent", "a1": "sent"}
    assert memory.done == 2


def test_an_alert_that_was_sent_is_not_sent_again() -> None:
    memory, slack = Memory(), Slack()
    for _ in range(2):
        notifier(memory, slack).deliver_window([letter(0), letter(1, alert_id="a0")], behind)
    assert len(slack.texts) == 1
    assert memory.done == 2


def test_a_crash_between_sending_and_sent_repeats_the_message_marked() -> None:
    memory, slack = Memory(), Slack()
    memory.record({"a0": {"state": State.SENDING}})
    notifier(memory, slack).deliver_window([letter(0), letter(1)], behind)
    assert "Possible repeat" in slack.texts[0]
    assert "Possible repeat" not in slack.texts[1]


def test_slack_being_down_loses_nothing_and_keeps_the_order() -> None:
    memory, slack = Memory(), Slack(busy(), busy(), None, busy(), None)
    notifier(memory, slack).deliver_window([letter(0), letter(1)], behind)
    assert [text.count("`SKU-0`") for text in slack.texts] == [1, 0]
    assert memory.states() == {"a0": "sent", "a1": "sent"}
    assert not [text for text in slack.texts if "repeat" in text]


def test_a_try_whose_answer_was_lost_is_repeated_marked() -> None:
    memory, slack = Memory(), Slack(busy(may_have_arrived=True))
    notifier(memory, slack).deliver_window([letter(0)], behind)
    assert "Possible repeat" in slack.texts[0]


def test_the_wait_doubles_up_to_a_minute_unless_slack_names_one() -> None:
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    troubles = [SlackUnavailable("down") for _ in range(8)] + [SlackUnavailable("429", retry_after=7.0)]
    notifier(Memory(), Slack(*troubles), Stop()).deliver_window([letter(0)], behind)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 7.0]


def test_stopping_while_slack_is_away_leaves_the_alert_for_the_next_start() -> None:
    memory, slack = Memory(), Slack(busy(), busy())
    stop = threading.Event()
    first = notifier(memory, slack, stop)

    def stop_then_fail(message: dict[str, Any]) -> None:
        stop.set()
        raise busy()

    first.post = stop_then_fail
    first.deliver_window([letter(0), letter(1)], behind)
    assert memory.states() == {"a0": "waiting"}
    assert memory.done == 0
    again = Slack()
    notifier(memory, again).deliver_window([letter(0), letter(1)], behind)
    assert len(again.texts) == 2
    assert "repeat" not in again.texts[0]


def test_a_refused_alert_is_parked_with_its_reason_and_the_next_one_goes_on() -> None:
    memory, slack = Memory(), Slack(SlackRefused(400, "invalid_payload"))
    notifier(memory, slack).deliver_window([letter(0), letter(1)], behind)
    assert memory.states() == {"a0": "rejected", "a1": "sent"}
    assert memory.entries["a0"]["reason"] == "400 invalid_payload"
    assert memory.entries["a0"]["alert"]["sku"] == "SKU-0"
    assert memory.done == 2


@pytest.mark.parametrize("may_have_arrived", [True, False])
def test_a_refused_alert_that_slack_may_have_is_sent_again_marked(may_have_arrived: bool) -> None:
    refused = SlackRefused(404, "no_service")
    memory, slack = Memory(), Slack(busy(may_have_arrived), refused, refused)
    sender = notifier(memory, slack)
    sender.deliver_window([letter(0)], behind)
    for _ in range(2):
        parked = memory.entries["a0"]
        alert = read_alert(json.dumps(parked["alert"]).encode())
        sender.deliver([alert], may_repeat=parked["may_repeat"])
    assert ["Possible repeat" in text for text in slack.texts] == [may_have_arrived]


def test_a_record_that_is_no_alert_is_parked_and_the_next_one_goes_on() -> None:
    memory, slack = Memory(), Slack()
    notifier(memory, slack).deliver_window([Letter(0, 0, b"junk"), letter(1)], behind)
    assert memory.states() == {"record-0-0": "rejected", "a1": "sent"}
    assert len(slack.texts) == 1


@pytest.mark.parametrize(("many", "messages"), [(DIGEST_ABOVE, DIGEST_ABOVE), (DIGEST_ABOVE + 1, 1)])
def test_many_at_once_become_one_digest(many: int, messages: int) -> None:
    memory, slack = Memory(), Slack()
    notifier(memory, slack).deliver_window([letter(n) for n in range(many)], behind)
    assert len(slack.texts) == messages
    assert set(memory.states().values()) == {"sent"}
    assert memory.done == many


def test_one_bad_alert_does_not_take_its_digest_with_it() -> None:
    refused = SlackRefused(400, "invalid_blocks")
    memory, slack = Memory(), Slack(refused, None, refused)
    notifier(memory, slack).deliver_window([letter(n) for n in range(12)], behind)
    assert memory.states()["a1"] == "rejected"
    assert sum(state == "sent" for state in memory.states().values()) == 11
    assert not [text for text in slack.texts if "repeat" in text]
    assert memory.done == 12


def test_without_a_webhook_alerts_are_kept_as_skipped_and_never_sent_later() -> None:
    memory, slack = Memory(), Slack()
    notifier(memory, None).deliver_window([letter(0)], behind)
    assert memory.states() == {"a0": "skipped"}
    notifier(memory, slack).deliver_window([letter(0)], behind)
    assert slack.texts == []


def test_a_stopped_notifier_starts_no_new_message() -> None:
    memory, slack = Memory(), Slack()
    notifier(memory, slack, stopped()).deliver_window([letter(0)], behind)
    assert slack.texts == []
    assert memory.done == 0
