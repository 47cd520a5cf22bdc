"""What people read in Slack: one message for each transition of a low-stock episode, or one digest for many at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lakehouse.slack import escape

TITLES = {
    "opened": ":warning: *Stock is low*",
    "escalated": ":rotating_light: *Out of stock*",
    "closed": ":white_check_mark: *Stock has recovered*",
}
SECTION_LIMIT, SECTIONS_LIMIT, TEXT_LIMIT = 3_000, 45, 40_000
"""What Slack takes: characters in a section, blocks in a message (50, less ours), characters in a message's text."""
NAME_LIMIT = 60
THE_REST = "_The rest does not fit here; all of them are in the table `ops.alerts`._"
POSSIBLE_REPEAT = "_Possible repeat: the answer to an earlier try was lost._"


class MalformedAlert(ValueError):
    """A record of the alerts topic is not an alert; says which field is wrong."""


@dataclass(frozen=True)
class Alert:
    """One transition of an episode. `on_hand` and `reorder_point` in units of stock; times in UTC."""

    alert_id: str
    episode_id: str
    kind: str
    sku: str
    warehouse_id: str
    on_hand: int
    reorder_point: int
    sequence: int
    occurred_at: datetime
    product_name: str = ""

    def delay_seconds(self, now: datetime) -> float:
        """Seconds from the stock movement to `now`; never negative, though clocks differ."""
        return max(0.0, (now - self.occurred_at).total_seconds())

    def as_json(self) -> dict[str, Any]:
        """The alert as it stands in the topic, so that `read_alert` reads it back."""
        return asdict(self) | {"occurred_at": self.occurred_at.isoformat()}


def read_alert(value: bytes | None) -> Alert:
    """Decode one record of the alerts topic (a JSON object). Raises `MalformedAlert`; unknown fields are ignored."""
    try:
        fields = json.loads(value or b"null")
        kind = fields["kind"]
        if kind not in TITLES:
            raise MalformedAlert(f"kind is {kind!r}, expected one of {', '.join(TITLES)}")
        return Alert(
            alert_id=_text(fields, "alert_id"),
            episode_id=_text(fields, "episode_id"),
            kind=kind,
            sku=_text(fields, "sku"),
            warehouse_id=_text(fields, "warehouse_id"),
            on_hand=int(fields["on_hand"]),
            reorder_point=int(fields["reorder_point"]),
            sequence=int(fields["sequence"]),
            occurred_at=_utc(fields["occurred_at"]),
            product_name=str(fields.get("product_name") or ""),
        )
    except MalformedAlert:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MalformedAlert(f"{type(error).__name__}: {error}") from None


def message_of(alert: Alert, now: datetime, possible_repeat: bool = False) -> dict[str, Any]:
    """The Slack message for one alert, with the seconds from the movement to `now`."""
    lines = [_line(alert), f"{alert.delay_seconds(now):.1f} s after the stock movement"]
    if possible_repeat:
        lines.append(POSSIBLE_REPEAT)
    return {"text": "\n".join(lines), "blocks": [_section(lines[0]), _context(" · ".join(lines[1:]))]}


def digest_of(alerts: Sequence[Alert], now: datetime, possible_repeat: bool = False) -> dict[str, Any]:
    """One Slack message for many alerts, in their order: how many of each kind, then a line for each."""
    counts = Counter(alert.kind for alert in alerts)
    head = f"*{len(alerts)} stock alerts at once*: " + ", ".join(
        f"{counts[kind]} {kind}" for kind in TITLES if counts[kind]
    )
    slowest = max(alert.delay_seconds(now) for alert in alerts)
    foot = f"At most {slowest:.1f} s after the stock movement" + (f" · {POSSIBLE_REPEAT}" if possible_repeat else "")
    sections = _packed([_line(alert) for alert in alerts])
    if len(sections) > SECTIONS_LIMIT:
        sections = [*sections[:SECTIONS_LIMIT], THE_REST]
    blocks = [_section(head), *map(_section, sections), _context(foot)]
    return {"text": "\n".join([head, foot, *sections])[:TEXT_LIMIT], "blocks": blocks}


def _packed(lines: Sequence[str]) -> list[str]:
    sections = [lines[0]]
    for line in lines[1:]:
        if len(sections[-1]) + 1 + len(line) <= SECTION_LIMIT:
            sections[-1] += f"\n{line}"
        else:
            sections.append(line)
    return sections


def _line(alert: Alert) -> str:
    name, sku, place = (escape(x[:NAME_LIMIT]) for x in (alert.product_name, alert.sku, alert.warehouse_id))
    product = f"{name} (`{sku}`)" if name else f"`{sku}`"
    level = f"{alert.on_hand} left" if alert.on_hand > 0 else f"none left ({alert.on_hand} on the books)"
    return f"{TITLES[alert.kind]}: {product} in `{place}`: {level}, reorder point {alert.reorder_point}"


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or not value:
        raise MalformedAlert(f"{name} is {value!r}, expected a text that is not empty")
    return value


def _utc(value: str) -> datetime:
    at = datetime.fromisoformat(value)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}
