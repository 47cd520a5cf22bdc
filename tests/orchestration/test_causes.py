"""Out of hundreds of lines, the one that names the cause."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from lakehouse.errors import BadSettings
from orchestration.causes import CAUSE_LIMIT, cause_of
from orchestration.messages import failure_text
from orchestration.run_night import NightNotComplete

SUBMIT = """Cannot execute: spark-submit --master local[2] night.py. Error code is: 1.
Last spark-submit output:
26/11/23 06:00:00 WARN Something: unimportant
lakehouse: 2 check(s) of the silver layer failed: orders.quantity.
26/11/23 06:00:01 WARN ShutdownHook: noise after the cause"""

TRACE = """Traceback (most recent call last):
  File "x.py", line 1, in <module>
    go()
py4j.protocol.Py4JJavaError: An error occurred while calling o1.sql.
: java.lang.OutOfMemoryError: Java heap space
26/11/23 06:00:01 INFO ShutdownHook: bye"""


FULL_DISK = """Traceback (most recent call last):
py4j.protocol.Py4JJavaError: An error occurred while calling o1.save.
: org.apache.spark.SparkException: Job aborted.
\tat org.apache.spark.sql.Dataset.save(Dataset.scala:1)
Caused by: java.io.IOException: No space left on device
\t... 12 more
26/11/23 06:00:01 INFO ShutdownHook: bye"""


def test_our_own_sentence_wins_over_what_stands_around_it() -> None:
    assert cause_of(SUBMIT) == "2 check(s) of the silver layer failed: orders.quantity."


def test_of_several_sentences_the_last_one_counts() -> None:
    assert cause_of("lakehouse: the first try\nlakehouse: the last try\nnoise") == "the last try"


def test_else_the_last_exception_is_the_cause() -> None:
    assert cause_of(TRACE) == "py4j.protocol.Py4JJavaError: An error occurred while calling o1.sql."


def test_of_a_full_disk_the_cure_is_told_and_not_what_followed_from_it() -> None:
    assert cause_of(FULL_DISK).startswith("A disk is full (No space left on device): mostly the one of LAKEHOUSE_HOME")
    assert cause_of(FULL_DISK).endswith("the rest is done again.")
    assert cause_of(f"{FULL_DISK}\nlakehouse: A check failed.") == "A check failed."


def test_the_class_of_our_own_exception_is_left_out() -> None:
    assert cause_of("lakehouse.errors.StepFailed: The report was not written.") == "The report was not written."


def test_without_either_it_is_the_last_line() -> None:
    assert cause_of("one\ntwo\n\n") == "two"


def test_silence_is_said_to_be_silence() -> None:
    assert cause_of(None) == cause_of("") == "it gave no reason"


def test_a_novel_is_cut() -> None:
    assert len(cause_of("ValueError: " + "x" * 5000)) == CAUSE_LIMIT


def test_a_sentence_that_lists_things_keeps_them() -> None:
    told = f"lakehouse: {BadSettings(['LAKEHOUSE_A: missing', 'LAKEHOUSE_B: no number'])}\nnoise\n  indented noise"
    assert cause_of(told).endswith("local.env.example): LAKEHOUSE_A: missing LAKEHOUSE_B: no number")


def test_where_only_the_report_failed_the_numbers_are_said_to_be_published() -> None:
    for task, told in (
        ("report_and_notify", "The numbers are published; only the report failed."),
        ("silver_and_gold", "Readers stay on the last good numbers."),
    ):
        assert told in failure_text("nightly", task, "2026-11-22", "Slack is down", "a.html")
        assert told in str(NightNotComplete(date(2026, 11, 22), task, "Slack is down", Path("a.log")))
