"""The morning report: one self-contained HTML page per business date, written without Spark."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from batch import report_format as fmt
from batch.report_content import Morning, headline_day, overall_score, read_morning
from batch.report_page import render, status
from lakehouse.logs import get_logger
from lakehouse.settings import Settings

log = get_logger(__name__)


def report_path(settings: Settings, business_date: date) -> Path:
    """Where the page of a business date is kept."""
    return settings.home / "reports" / f"{business_date}.html"


def write_report(settings: Settings, business_date: date) -> Path:
    """Write the page of a business date from the published tables, over an earlier one; returns its path.

    Missing or empty tables become a plain sentence on the page. Raises OSError when the page can't be written.
    """
    path, _ = write_report_and_headline(settings, business_date)
    return path


def write_report_and_headline(settings: Settings, business_date: date) -> tuple[Path, str]:
    """Like `write_report`; returns the path and the page in one sentence, for a message."""
    zone = ZoneInfo(settings.business_time_zone)
    morning = read_morning(settings, business_date)
    page = render(morning, zone, datetime.now(UTC))
    path = report_path(settings, business_date)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Someone may be reading the page of an earlier run.
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(page, "utf-8")
    beside.replace(path)
    log.info("report_written", path=str(path), business_date=business_date, is_current=morning.is_current)
    return path, headline(morning, zone)


def headline(morning: Morning, zone: ZoneInfo) -> str:
    """The page in one sentence: whose numbers, revenue, orders, score."""
    day, score = headline_day(morning), overall_score(morning)
    parts = [] if morning.is_current else [f"{status(morning, zone)['title']}"]
    if day is not None:
        parts.append(f"revenue {fmt.amount(day['revenue'])} from {fmt.count(day['orders'])} orders")
        if day["order_date"] != morning.business_date:
            parts[-1] += f" on {fmt.short_day(day['order_date'])}"
    parts.append("not scored" if score is None else f"quality {fmt.decimal_number(score)} of 100")
    if morning.reorder:
        parts.append(f"{fmt.count(len(morning.reorder))} to reorder")
    return ", ".join(parts)
