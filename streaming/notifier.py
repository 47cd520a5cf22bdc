"""Alerts to Slack: one message for each transition of an episode, whatever dies on the way.

Before a message is posted its alert is recorded as `sending`; after Slack took it, `sent` and the consumer's offset are
recorded in one transaction. A crash in between is the one window that no webhook can close: the message is sent again
and says that it may be a repeat. Alerts are sent one after the other, so the order within an episode holds even while
Slack is away; what piles up meanwhile becomes one digest.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from lakehouse.lease import hold
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.slack import SlackRefused, SlackUnavailable, post
from streaming.alert_messages import Alert, MalformedAlert, digest_of, message_of, read_alert
from streaming.alert_source import AlertSource, Letter
from streaming.deliveries import FINISHED, Deliveries, Progress, State

log = get_logger(__name__)

DIGEST_ABOVE = 10
"""More new alerts than this in one window become one digest."""
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
RAW_LIMIT = 1_000
KEPT_SECONDS = 3600.0

Post = Callable[[dict[str, Any]], None]


class Memory(Protocol):
    """What the notifier asks of its memory; `Deliveries` is the real one."""

    def state(self, alert_id: str) -> State | None:
        """The newest state of an alert."""

    def record(self, entries: Mapping[str, Mapping[str, Any]], done: Progress | None = None) -> None:
        """Write states and progress together."""


@dataclass
class Notifier:
    """Sends alerts by `post` (None: log them instead) and remembers in `memory`; `stop` ends the waiting for Slack."""

    memory: Memory
    post: Post | None
    stop: threading.Event
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    counts: Counter[str] = field(default_factory=Counter)

    def deliver_window(self, letters: Sequence[Letter], progress: Callable[[Sequence[Letter]], Progress]) -> None:
        """Deliver what is new in a window. Returns early, with the rest undone, when `stop` is set."""
        fresh: list[tuple[Alert, Sequence[Letter]]] = []
        known: set[str] = set()
        for position, letter in enumerate(letters):
            try:
                alert = read_alert(letter.value)
            except MalformedAlert as error:
                self._park_record(letter, error)
                continue
            if alert.alert_id not in known and self.memory.state(alert.alert_id) not in FINISHED:
                known.add(alert.alert_id)
                # Done with this alert means done with everything before it in the window.
                fresh.append((alert, letters[: position + 1]))
        groups = [fresh] if len(fresh) > DIGEST_ABOVE else [[one] for one in fresh]
        for group in groups:
            if self.stop.is_set() or not self.deliver([alert for alert, _ in group], progress(group[-1][1])):
                return
        self.memory.record({}, progress(letters))

    def deliver(self, alerts: Sequence[Alert], done: Progress | None = None, may_repeat: bool = False) -> bool:
        """Send one alert, or several as a digest, and record it with the progress. False: stopped before that.

        `may_repeat`: Slack may have it from an earlier try, as far as the caller knows; the message then says so.
        """
        if self.post is None:
            self._skip(alerts, done)
            return True
        may_repeat = may_repeat or any(self.memory.state(alert.alert_id) == State.SENDING for alert in alerts)
        self.memory.record(_entries(alerts, State.SENDING))
        return self._send(self.post, alerts, done, may_repeat)

    def _send(self, post: Post, alerts: Sequence[Alert], done: Progress | None, may_repeat: bool) -> bool:
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                post(self._message(alerts, may_repeat))
            except SlackRefused as error:
                if len(alerts) == 1:
                    self._park(alerts[0], error, done, may_repeat)
                    return True
                # One bad alert must not take the others of its digest with it.
                return self._send_singly(post, alerts, done, may_repeat)
            except SlackUnavailable as error:
                may_repeat = may_repeat or error.may_have_arrived
                pause = error.retry_after if error.retry_after is not None else wait
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
                log.warning("slack_unavailable", alerts=len(alerts), found=str(error), next_try_in_seconds=pause)
                if self.stop.wait(pause):
                    if not may_repeat:
                        self.memory.record(_entries(alerts, State.WAITING))
                    return False
            else:
                self._sent(alerts, done, may_repeat)
                return True

    def _send_singly(self, post: Post, alerts: Sequence[Alert], done: Progress | None, may_repeat: bool) -> bool:
        if not all(self._send(post, [alert], None, may_repeat) for alert in alerts):
            return False
        self.memory.record({}, done)
        return True

    def _message(self, alerts: Sequence[Alert], may_repeat: bool) -> dict[str, Any]:
        now = self.clock()
        return message_of(alerts[0], now, may_repeat) if len(alerts) == 1 else digest_of(alerts, now, may_repeat)

    def _sent(self, alerts: Sequence[Alert], done: Progress | None, may_repeat: bool) -> None:
        now = self.clock()
        delays = {alert.alert_id: round(alert.delay_seconds(now), 3) for alert in alerts}
        entries = _entries(alerts, State.SENT)
        self.memory.record({key: entry | {"delay_seconds": delays[key]} for key, entry in entries.items()}, done)
        self.counts[State.SENT] += len(alerts)
        log.info(
            "alerts_sent",
            alerts=list(delays),
            delay_seconds=max(delays.values()),
            is_digest=len(alerts) > 1,
            may_repeat=may_repeat,
        )

    def _park(self, alert: Alert, error: SlackRefused, done: Progress | None, may_repeat: bool) -> None:
        kept = {"reason": error.reason, "may_repeat": may_repeat}
        entry = _entries([alert], State.REJECTED)[alert.alert_id] | kept
        self.memory.record({alert.alert_id: entry}, done)
        self.counts[State.REJECTED] += 1
        log.error("alert_rejected", alert=alert.alert_id, reason=error.reason, cure="lakehouse notify --resend")

    def _skip(self, alerts: Sequence[Alert], done: Progress | None) -> None:
        self.memory.record(_entries(alerts, State.SKIPPED), done)
        self.counts[State.SKIPPED] += len(alerts)
        for alert in alerts:
            text = self._message([alert], may_repeat=False)["text"]
            log.info("alert_skipped", alert=alert.alert_id, text=text, why="LAKEHOUSE_SLACK_WEBHOOK is not set")

    def _park_record(self, letter: Letter, error: MalformedAlert) -> None:
        key = f"record-{letter.partition}-{letter.offset}"
        raw = (letter.value or b"")[:RAW_LIMIT].decode("utf-8", "replace")
        self.memory.record({key: {"state": State.REJECTED, "reason": str(error), "raw": raw}})
        self.counts[State.REJECTED] += 1
        log.error("alert_malformed", partition=letter.partition, offset=letter.offset, reason=str(error))


def run(settings: Settings, stop: threading.Event, until_caught_up: bool = False, resend: bool = False) -> Counter[str]:
    """Send alerts until `stop` is set (or the topic is read); returns how many were sent, rejected and skipped.

    `resend`: first send again what Slack refused. Raises `LeaseHeld` when another notifier runs here,
    `NotifierReplaced` when one runs elsewhere, `ServiceUnreachable` without Kafka or its topics.
    """
    webhook = settings.slack_webhook
    with hold("notifier", settings):
        memory = Deliveries(settings)
        notifier = Notifier(memory, (lambda message: post(webhook, message)) if webhook else None, stop)
        with AlertSource(settings) as source:
            log.info("notifier_started", topic=settings.alerts_topic, has_webhook=bool(webhook))
            for fields, may_repeat in memory.parked() if resend else ():
                notifier.deliver([read_alert(json.dumps(fields).encode())], may_repeat=may_repeat)
            kept_at = time.monotonic()
            while not stop.is_set():
                letters = source.window()
                if letters:
                    notifier.deliver_window(letters, source.behind)
                elif until_caught_up and source.is_at_end:
                    break
                elif time.monotonic() - kept_at > KEPT_SECONDS:
                    # The broker forgets the offsets of a group that commits none for a week.
                    memory.record({}, source.standing())
                    kept_at = time.monotonic()
    log.info("notifier_stopped", **notifier.counts)
    return notifier.counts


def _entries(alerts: Sequence[Alert], state: State) -> dict[str, dict[str, Any]]:
    # A parked alert must be there to send again after its record has left the alerts topic.
    kept = state not in (State.SENT, State.SKIPPED)
    return {alert.alert_id: {"state": state} | ({"alert": alert.as_json()} if kept else {}) for alert in alerts}
