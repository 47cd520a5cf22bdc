"""What a webhook answers becomes: delivered, refused for good, or later. Its address never leaves the module."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from lakehouse.slack import SlackRefused, SlackUnavailable, escape, post
from tests.slack_stand_in import SECRET_PATH, Hook, slack_stand_in


@pytest.fixture
def hook() -> Iterator[Hook]:
    with slack_stand_in() as server:
        yield server


def everything_in(error: BaseException) -> str:
    """The text of an exception and of all that a stack trace would print with it."""
    causes = [cause for cause in (error.__cause__, None if error.__suppress_context__ else error.__context__) if cause]
    return str(error) + repr(error) + "".join(map(everything_in, causes))


def test_a_message_that_slack_takes_is_delivered_once(hook: Hook) -> None:
    post(hook.address, {"text": "low"})
    assert hook.received == [{"text": "low"}]


@pytest.mark.parametrize("status", [400, 403, 404, 410, 302])
def test_an_answer_that_will_not_change_is_a_refusal_with_its_reason(hook: Hook, status: int) -> None:
    hook.answers = [(status, {}, "no_service")]
    with pytest.raises(SlackRefused, match=f"{status} no_service"):
        post(hook.address, {"text": "low"})


def test_too_many_messages_carries_the_wait_that_slack_asks_for(hook: Hook) -> None:
    hook.answers = [(429, {"Retry-After": "7"}, "rate_limited")]
    with pytest.raises(SlackUnavailable) as caught:
        post(hook.address, {"text": "low"})
    assert caught.value.retry_after == 7.0
    assert not caught.value.may_have_arrived


def test_a_server_error_may_have_delivered_the_message(hook: Hook) -> None:
    hook.answers = [(503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "")]
    with pytest.raises(SlackUnavailable) as caught:
        post(hook.address, {"text": "low"})
    assert caught.value.retry_after is None
    assert caught.value.may_have_arrived


def test_a_connection_lost_after_sending_may_have_delivered_the_message(hook: Hook) -> None:
    hook.answers = [(0, {}, "")]
    with pytest.raises(SlackUnavailable) as caught:
        post(hook.address, {"text": "low"})
    assert caught.value.may_have_arrived


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Transfer-Encoding": "chunked"}, "5\r\nok"),
        ({"Content-Encoding": "gzip", "Content-Length": "8"}, "no gzip!"),
    ],
)
def test_an_answer_that_can_not_be_read_may_have_delivered_the_message(
    hook: Hook, headers: dict[str, str], body: str
) -> None:
    hook.answers = [(200, headers, body)]
    with pytest.raises(SlackUnavailable) as caught:
        post(hook.address, {"text": "low"})
    assert caught.value.may_have_arrived
    assert "very-secret" not in everything_in(caught.value)


def test_a_message_that_is_no_json_is_refused(hook: Hook) -> None:
    with pytest.raises(SlackRefused, match="the message is no JSON"):
        post(hook.address, {"text": float("nan")})
    assert hook.received == []


def test_a_refused_connection_certainly_delivered_nothing(hook: Hook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SlackUnavailable) as caught:
        post(SecretStr(f"http://127.0.0.1:{port}{SECRET_PATH}"), {"text": "low"})
    assert not caught.value.may_have_arrived
    # The library's own exception for this names the whole path.
    assert "very-secret" not in everything_in(caught.value)


@pytest.mark.parametrize(
    "answer", [(0, {}, ""), (500, {}, "x"), (404, {}, "no such path {address}"), (429, {}, "{address}")]
)
def test_no_exception_tells_the_address(hook: Hook, answer: tuple[int, dict[str, str], str]) -> None:
    status, headers, text = answer
    hook.answers = [(status, headers, text.format(address=hook.address.get_secret_value()))]
    with pytest.raises((SlackRefused, SlackUnavailable)) as caught:
        post(hook.address, {"text": "low"})
    assert "very-secret" not in everything_in(caught.value)


@pytest.mark.parametrize(
    "address", ["not an address very-secret", "ftp://very-secret/x", "http://", "http://[very-secret"]
)
def test_a_malformed_address_is_refused_without_being_shown(address: str) -> None:
    with pytest.raises(SlackRefused) as caught:
        post(SecretStr(address), {"text": "low"})
    assert "very-secret" not in everything_in(caught.value)


def test_control_characters_are_escaped() -> None:
    assert escape("<!channel> & co") == "&lt;!channel&gt; &amp; co"
