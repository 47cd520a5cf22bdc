"""Which line of a step's output names the cause of its failure."""

from __future__ import annotations

import re

CAUSE_LIMIT = 600
OUR_SENTENCE = re.compile(r"(?:^|\s)lakehouse: (?P<cause>.+)")
"""The front door and the night's steps print our own errors like this."""
OUR_CLASS = re.compile(r"^(?:lakehouse|quality|streaming|batch|orchestration|infra)(?:\.\w+)+: ")
EXCEPTION = re.compile(r"^(?P<cause>[\w.]*(?:Error|Exception|Interrupt|Failed|Exit|Held|Missing|Unreachable)\w*: .+)")


def cause_of(error: object) -> str:
    """The last sentence of ours in the text of `error`, else its last exception, else its last line."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    for pattern in (OUR_SENTENCE, EXCEPTION):
        found = [match["cause"] for line in lines if (match := pattern.search(line))]
        if found:
            return OUR_CLASS.sub("", found[-1])[:CAUSE_LIMIT]
    return (lines or ["it gave no reason"])[-1][:CAUSE_LIMIT]
