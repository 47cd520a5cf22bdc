"""Conditions on rejected rows: a grammar of its own, and a sentence for what does not fit it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from lakehouse.settings import Settings
from streaming.quarantine_commands import quarantine
from streaming.quarantine_selection import BadCondition, Condition, condition

WRONG = {
    "no comparison": "offset",
    "a column that is not offered": "raw_value=x",
    "SQL": "1=1 or offset=1",
    "an order of texts": "topic<b",
    "a number that is none": "offset>=1 or 1=1",
    "a moment that is none": "arrived_at<yesterday",
    "no value": "offset=",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_what_is_not_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(BadCondition, match="expected"):
        condition(text)


def test_values_are_read_by_the_type_of_their_column() -> None:
    assert condition("offset >= 12") == Condition("offset", ">=", 12)
    assert condition("reason=missing_field:sku") == Condition("reason", "=", "missing_field:sku")
    assert condition("arrived_at<2026-11-23").value == datetime(2026, 11, 23, tzinfo=UTC)
    assert condition("topic=' or 1=1 --").value == "' or 1=1 --"


def test_nothing_is_discarded_without_a_selection_and_a_reason(settings: Settings) -> None:
    without_rows = CliRunner().invoke(quarantine, ["discard", "--why", "x"], obj=settings)
    without_why = CliRunner().invoke(quarantine, ["discard", "--reason", "oversize", "--why", " "], obj=settings)
    assert (without_rows.exit_code, without_why.exit_code) == (2, 2)
    assert "Say which rows" in without_rows.output
    assert "--why must say something" in without_why.output
