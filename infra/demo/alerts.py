"""Low stock at the end of a demo: what was expected, what was raised, what arrived at Slack."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from infra.shop.account import Account, ExpectedAlert
from lakehouse.settings import Settings
from streaming.alert_messages import TITLES
from streaming.inspection import alerts_raised

ALERT_LINE = re.compile(r"(?P<title>:\w+: \*[^*]+\*): (?:.* \()?`(?P<sku>[^`]+)`\)? in `(?P<warehouse>[^`]+)`")
MAY_FOLLOW = {
    "opened": (None, "closed"),
    "escalated": ("opened",),
    "closed": ("opened", "escalated"),
}
"""Kind of an alert -> the kinds that the one before it may have, of the same product and warehouse."""


def raised(settings: Settings) -> Counter[ExpectedAlert]:
    """The alerts in `ops.alerts`, by product, warehouse and kind."""
    return Counter(
        ExpectedAlert(str(row["sku"]), str(row["warehouse_id"]), str(row["kind"])) for row in alerts_raised(settings)
    )


def told(settings: Settings) -> Counter[ExpectedAlert]:
    """The alerts that the Slack stand-in received, read from the text of its messages."""
    record = settings.home / "stack" / "slack" / "messages.jsonl"
    lines = record.read_text("utf-8").splitlines() if record.is_file() else []
    texts = [line for message in lines for line in json.loads(message)["payload"].get("text", "").splitlines()]
    kinds = {title: kind for kind, title in TITLES.items()}
    found = (ALERT_LINE.match(text) for text in texts)
    return Counter(
        ExpectedAlert(m["sku"], m["warehouse"], kinds[m["title"]]) for m in found if m and m["title"] in kinds
    )


def has_own_webhook(settings: Settings) -> bool:
    """Whether messages go to a real Slack, where nobody can read them back."""
    return "127.0.0.1" not in settings.slack_webhook.get_secret_value()


def missing_alerts(settings: Settings, account: Account) -> list[ExpectedAlert]:
    """Alerts that the shop expects and that were not raised."""
    return list((Counter(account.expected_alerts) - raised(settings)).elements())


def untold_alerts(settings: Settings) -> list[ExpectedAlert]:
    """Alerts that were raised and did not arrive at the Slack stand-in."""
    return [] if has_own_webhook(settings) else list((raised(settings) - told(settings)).elements())


def out_of_turn(alerts: Iterable[Mapping[str, Any]]) -> list[ExpectedAlert]:
    """Alerts (rows of `ops.alerts`) that the one before does not allow: an episode opens when none is open, escalates
    at most once and closes when it is open. In the order of the sequences of a product and warehouse.
    """
    before: dict[tuple[str, str], str] = {}
    found = []
    for row in sorted(alerts, key=lambda row: row["sequence"]):
        one = ExpectedAlert(row["sku"], row["warehouse_id"], row["kind"])
        if before.get((one.sku, one.warehouse_id)) not in MAY_FOLLOW[one.kind]:
            found.append(one)
        before[one.sku, one.warehouse_id] = one.kind
    return found
