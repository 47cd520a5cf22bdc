"""Which line of a step's output names the cause of its failure."""

from __future__ import annotations

import re

CAUSE_LIMIT = 600
OUR_SENTENCE = re.compile(r"(?:^|\s)lakehouse: (?P<cause>.+)")
"""The front door and the night's steps print our own errors like this."""
OUR_CLASS = re.compile(r"^(?:lakehouse|quality|streaming|batch|orchestration|infra)(?:\.\w+)+: ")
EXCEPTION = re.compile(r"^(?P<cause>[\w.]*(?:Error|Exception|Interrupt|Failed|Exit|Held|Missing|Unreachable)\w*: .+)")
INDENTED = re.compile(r"\s+(?P<text>\S.*)")
REPORT_TASK = "report_and_notify"
"""The task behind the publication."""


def readers_see(task: str) -> str:
    """What a night that failed in a task means for those who read its numbers, as a sentence."""
    if task == REPORT_TASK:
        return "The numbers are published; only the report failed."
    return "Readers stay on the last good numbers."


def cause_of(error: object) -> str:
    """The last sentence of ours in the text of `error`, else its last exception, else its last line."""
    lines = [line.strip() for line in _whole_sentences(str(error or "")) if line.strip()]
    for pattern in (OUR_SENTENCE, EXCEPTION):
        found = [match["cause"] for line in lines if (match := pattern.search(line))]
        if found:
            return OUR_CLASS.sub("", found[-1])[:CAUSE_LIMIT]
    return (lines or ["it gave no reason"])[-1][:CAUSE_LIMIT]


def _whole_sentences(text: str) -> list[str]:
    """The lines of a text; the indented ones behind a sentence of ours that ends with a colon are part of it."""
    lines: list[str] = []
    is_listing = False
    for line in text.splitlines():
        item = INDENTED.fullmatch(line)
        if is_listing and item:
            lines[-1] += f" {item['text']}"
            continue
        lines.append(line)
        is_listing = bool(OUR_SENTENCE.search(line)) and line.endswith(":")
    return lines
