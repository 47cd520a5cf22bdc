"""Which line of a step's output names the cause of its failure."""

from __future__ import annotations

import re

from lakehouse.errors import full_disk_in

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
    """The last sentence of ours in the text of `error`, else the cure of a full disk, else its last exception, else
    its last line.
    """
    text = str(error or "")
    lines = [line.strip() for line in _whole_sentences(text) if line.strip()]
    ours, exceptions = _causes(OUR_SENTENCE, lines), _causes(EXCEPTION, lines)
    # Of a full disk the JVM tells far down, behind `Caused by:`, and the last exception is only what followed from it.
    full_disk = full_disk_in(text)
    found = ours or ([full_disk] if full_disk else exceptions) or lines or ["it gave no reason"]
    return found[-1][:CAUSE_LIMIT]


def _causes(pattern: re.Pattern[str], lines: list[str]) -> list[str]:
    return [OUR_CLASS.sub("", match["cause"]) for line in lines if (match := pattern.search(line))]


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
