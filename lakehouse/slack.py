"""Messages to a Slack incoming webhook. The only module that reveals the webhook's address.

The address is the credential: whoever knows it can write to the channel. The exceptions of the HTTP library carry it in
their text, so none of them leaves this module; what leaves says what happened, and whether Slack may have the message.
"""

from __future__ import annotations

from typing import Any

import requests
from pydantic import SecretStr
from urllib3.exceptions import MaxRetryError, NewConnectionError

from lakehouse.errors import LakehouseError

TIMEOUT_SECONDS = (5.0, 10.0)
"""For connecting, and for the answer."""
REASON_LIMIT = 200
TOO_MANY = 429
# Slack's way to say "later" with a 4xx code: a time-out of theirs, and too many messages.
RETRYABLE_CODES = (408, TOO_MANY)
NOT_AN_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
)
"""Raised before anything is sent."""


class SlackRefused(LakehouseError):
    """Slack answered that it will never take this message (or this webhook)."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = f"{status} {reason}".strip()
        super().__init__(
            f"Slack refused the message: {self.reason}. Expected 200; look at LAKEHOUSE_SLACK_WEBHOOK if it says "
            "no_service, invalid_token or channel_is_archived, else at the message."
        )


class SlackUnavailable(LakehouseError):
    """Slack did not take the message now; the same message may pass later.

    `retry_after`: seconds that Slack asked to wait, or None. `may_have_arrived`: whether the message may have been
    taken although no good answer came back.
    """

    def __init__(self, found: str, retry_after: float | None = None, may_have_arrived: bool = False) -> None:
        self.retry_after = retry_after
        self.may_have_arrived = may_have_arrived
        super().__init__(f"Slack did not take the message: {found}. It is tried again; check the network if it lasts.")


def escape(text: str) -> str:
    """`text` with Slack's three control characters escaped, so that a product's name can't mention a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def post(webhook: SecretStr, message: dict[str, Any]) -> None:
    """Send one message (Slack's JSON: `text`, `blocks`). Raises `SlackRefused` or `SlackUnavailable`."""
    answer = _answer(webhook, message)
    if answer.status_code < 300:
        return
    reason = answer.text.replace(webhook.get_secret_value(), "the webhook").strip()[:REASON_LIMIT]
    if answer.status_code in RETRYABLE_CODES:
        raise SlackUnavailable(f"{answer.status_code} {reason}", retry_after=_retry_after(answer))
    if answer.status_code >= 500:
        raise SlackUnavailable(
            f"{answer.status_code} {reason}", retry_after=_retry_after(answer), may_have_arrived=True
        )
    raise SlackRefused(answer.status_code, reason)


def _answer(webhook: SecretStr, message: dict[str, Any]) -> requests.Response:
    # `from None` and the type's name alone: the text of these exceptions, and of what caused them, holds the address.
    try:
        return requests.post(webhook.get_secret_value(), json=message, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except requests.ConnectionError as error:
        raise SlackUnavailable(type(error).__name__, may_have_arrived=not _never_connected(error)) from None
    except requests.Timeout as error:
        raise SlackUnavailable(type(error).__name__, may_have_arrived=True) from None
    except NOT_AN_ADDRESS as error:
        raise SlackRefused(0, f"{type(error).__name__}: the webhook is not an address that can be called") from None
    except requests.exceptions.InvalidJSONError as error:
        raise SlackRefused(0, f"{type(error).__name__}: the message is no JSON") from None
    except requests.RequestException as error:
        # An answer came that can't be read, so the message had gone out: a body cut short, a broken compression.
        raise SlackUnavailable(type(error).__name__, may_have_arrived=True) from None
    except ValueError as error:
        raise SlackRefused(0, f"{type(error).__name__}: the webhook is not an address that can be called") from None


def _never_connected(error: requests.ConnectionError) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _retry_after(answer: requests.Response) -> float | None:
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        # Absent, or the form with a date, which Slack does not use.
        return None
