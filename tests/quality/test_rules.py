"""Row rules: each action, and what a predicate that is neither true nor false means."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from quality.rules import (
    CHANGE_RULES,
    CLICK_RULES,
    INVENTORY_RULES,
    Action,
    Rule,
    WhenNull,
    broken_rules,
    dropped_by,
    hold,
    warnings,
)

RULES = (
    Rule("small", "a < 10", WhenNull.HOLDS),
    Rule("even", "a % 2 = 0", WhenNull.FAILS),
    Rule("not_seven", "a <> 7", WhenNull.HOLDS, Action.DROP),
    Rule("below_five", "a < 5", WhenNull.HOLDS, Action.WARN),
)
STOP = Rule("never_99", "a <> 99", WhenNull.HOLDS, Action.STOP)


@pytest.fixture(scope="module")
def judged(spark: SparkSession) -> dict[int | None, Any]:
    frame = spark.createDataFrame([(4,), (6,), (7,), (15,), (None,)], "a int")
    columns = {
        "holds": hold((*RULES, STOP)),
        "reasons": broken_rules((*RULES, STOP)),
        "dropped": dropped_by(RULES),
        "warned": warnings(RULES),
        "nothing": F.coalesce(broken_rules(()), warnings(())),
    }
    return {row["a"]: row for row in frame.withColumns(columns).collect()}


def test_all_failing_rules_are_recorded(judged: dict[int | None, Any]) -> None:
    assert judged[4]["reasons"] is None
    assert judged[15]["reasons"] == ["small", "even"]


def test_what_null_means_is_the_decision_of_the_rule(judged: dict[int | None, Any]) -> None:
    assert (judged[None]["reasons"], judged[None]["dropped"], judged[None]["warned"]) == (["even"], None, None)


def test_a_dropped_row_has_the_name_of_its_rule(judged: dict[int | None, Any]) -> None:
    assert (judged[7]["dropped"], judged[6]["dropped"]) == ("not_seven", None)


def test_a_warning_rejects_nothing(judged: dict[int | None, Any]) -> None:
    assert (judged[6]["reasons"], judged[6]["warned"], judged[4]["warned"]) == (None, ["below_five"], None)


def test_no_rule_finds_nothing(judged: dict[int | None, Any]) -> None:
    assert {row["nothing"] for row in judged.values()} == {None}


def test_rules_hold_for_a_row_that_none_rejects_and_none_drops(judged: dict[int | None, Any]) -> None:
    good = [value for value, row in judged.items() if row["reasons"] is None and row["dropped"] is None]
    assert good == [value for value, row in judged.items() if row["holds"]] == [4, 6]
    assert not any(row["holds"] is None for row in judged.values())


def test_a_rule_that_stops_names_itself(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(4,), (99,)], "a int").withColumn("holds", hold((STOP,)))
    with pytest.raises(PySparkException, match="row rule never_99 stops the stream"):
        frame.collect()


def test_rules_of_change_topics_only_warn() -> None:
    assert {rule.action for rules in CHANGE_RULES.values() for rule in rules} == {Action.WARN}


def test_names_are_used_once_per_stream() -> None:
    for rules in (INVENTORY_RULES, CLICK_RULES, *CHANGE_RULES.values()):
        assert len({rule.name for rule in rules}) == len(rules)


def test_a_rule_knows_what_it_reads() -> None:
    rule = Rule("unknown_movement", "movement IN ('sale', 'on_hand')", WhenNull.FAILS)
    assert (rule.reads("movement"), rule.reads("on_hand"), rule.reads("move")) == (True, False, False)


def test_a_key_that_no_message_can_carry_is_rejected_by_its_bytes(spark: SparkSession) -> None:
    rule = [one for one in INVENTORY_RULES if one.name == "oversize_key"]
    pairs = [("P" * 1_000, "W1"), ("P" * 1_001, "W1"), ("\u00e9" * 501, "W1"), ("P1", "W" * 1_001), (None, "W1")]
    frame = spark.createDataFrame(
        [(*pair, at) for at, pair in enumerate(pairs)], "sku string, warehouse_id string, at int"
    )
    rows = frame.withColumn("reasons", broken_rules(rule)).orderBy("at").collect()
    bad = ["oversize_key"]
    assert [row["reasons"] for row in rows] == [None, bad, bad, bad, None]
