"""The morning report as one HTML page: no script, no font, no request to any server. Every value is escaped."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from markupsafe import Markup

from batch import report_format as fmt
from batch.report_content import (
    LONGEST_STOCK_LIST,
    MARGIN_WINDOW_DAYS,
    SALES_WINDOW_DAYS,
    SOURCES,
    Morning,
    days_before,
    headline_day,
    overall_score,
)
from batch.report_plots import (
    Bar,
    age_bars,
    funnel_bars,
    margin_bars,
    sales_plot,
    segment_bars,
    sparkline,
    stock_bars,
)
from batch.report_tables import Row

FOLDER = Path(__file__).parent
TEMPLATE = "report_page.html.j2"
STYLES = "report_page.css"
GOOD_SCORE, FAIR_SCORE = 98.0, 90.0
LOST_SHOWN = 8

Change = dict[str, str]


def render(morning: Morning, zone: ZoneInfo, written_at: datetime) -> str:
    """The page for one morning. `written_at` (with a zone) is the moment that ages are counted from."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "amount": fmt.amount,
        "count_of": fmt.count,
        "share": fmt.share,
        "decimal_number": fmt.decimal_number,
        "duration": fmt.duration,
        "long_day": fmt.long_day,
        "short_day": fmt.short_day,
        "words": fmt.words,
        "days_left": _days_left,
    }
    context = _sales(morning) | _customers(morning) | _trust(morning, zone, written_at)
    return environment.get_template(TEMPLATE).render(
        m=morning,
        css=Markup((FOLDER / STYLES).read_text("utf-8")),
        status=status(morning, zone),
        written=fmt.clock(written_at, zone),
        zone=zone.key,
        **context,
    )


def status(morning: Morning, zone: ZoneInfo) -> dict[str, Any]:
    """Whether these are the numbers of the date that the page is about, and if not, why: kind, title and lines."""
    publication, failed = morning.publication, morning.failed_step
    why = f"The night of {fmt.short_day(morning.business_date)} " + (
        f"failed in the step {failed['step']}: {failed['message']}" if failed else "has not been published."
    )
    if publication is None:
        return {"kind": "bad", "title": "Nothing has been published yet", "lines": [why]}
    at, moved = fmt.clock(publication.published_at, zone), len(publication.versions)
    when = (
        f"Published at {at}: {moved} table{'s' if moved != 1 else ''}, after all checks that can stop a night had held."
    )
    if not morning.is_current:
        title = f"These are the numbers of {fmt.long_day(publication.business_date)}"
        return {"kind": "bad" if failed else "warn", "title": title, "lines": [why, when]}
    if failed and failed["started_at"] > publication.published_at:
        title = "Complete, but a later run for the same day failed"
        return {"kind": "warn", "title": title, "lines": [why, when]}
    return {"kind": "good", "title": "Complete and checked", "lines": [when]}


def tiles(morning: Morning) -> list[dict[str, Any]]:
    """The headline numbers of the newest day with sales, each with its changes since a day and a week before."""
    day = headline_day(morning)
    if day is None:
        return []
    before, week = days_before(morning.daily, day, 1), days_before(morning.daily, day, 7)
    return [
        _tile("Revenue", fmt.amount(day["revenue"]), _change(day, before, week, "revenue")),
        _tile("Orders", fmt.count(day["orders"]), _change(day, before, week, "orders")),
        _tile(
            "Average order", fmt.amount(day["average_order_value"]), _change(day, before, week, "average_order_value")
        ),
        _tile("Margin", fmt.share(day["margin"]), _change(day, before, week, "margin", is_share=True)),
        _conversion(morning),
        _score_tile(morning),
    ]


def _sales(morning: Morning) -> dict[str, Any]:
    return {
        "tiles": tiles(morning),
        "day": headline_day(morning),
        "sales": sales_plot(morning.daily, SALES_WINDOW_DAYS) if morning.daily else None,
        "categories": margin_bars(morning.by_category),
        "regions": margin_bars(morning.by_region),
        "margin_days": MARGIN_WINDOW_DAYS,
    }


def _customers(morning: Morning) -> dict[str, Any]:
    visits = morning.funnel[0] if morning.funnel else None
    published = morning.publication.versions if morning.publication else {}
    return {
        "segments": segment_bars(morning.segments),
        "funnel": funnel_bars(visits) if visits and visits["sessions"] else [],
        "funnel_day": visits["event_date"] if visits else None,
        "reorder": morning.reorder[:LONGEST_STOCK_LIST],
        "missing_stock": stock_bars(morning.reorder[:LONGEST_STOCK_LIST]),
        "has_reorder_points": any(name.endswith("reorder_points") for name in published),
    }


def _trust(morning: Morning, zone: ZoneInfo, written_at: datetime) -> dict[str, Any]:
    score = overall_score(morning)
    details = [row for row in morning.scores if "all" not in (row["table_name"], row["dimension"])]
    dimensions = sorted({row["dimension"] for row in details})
    values = {(row["table_name"], row["dimension"]): row["score"] for row in details}
    names = sorted({row["table_name"] for row in details})
    published = morning.publication
    return {
        "score": score,
        "score_kind": _score_kind(score),
        "score_line": sparkline([float(row["score"]) for row in morning.score_history], low=50.0),
        "lost": morning.lost_points[:LOST_SHOWN],
        "dimensions": dimensions,
        "score_table": [(name, [values.get((name, dimension)) for dimension in dimensions]) for name in names],
        "freshness": f"Published at {fmt.clock(published.published_at, zone)}."
        if published
        else "Nothing is published.",
        "sources": _sources(morning, zone, written_at),
        "balance": _balance(morning),
        "quarantine": _quarantine(morning),
    }


def _tile(name: str, value: str, changes: list[Change]) -> dict[str, Any]:
    return {"name": name, "value": value, "changes": changes}


def _change(day: Row, before: Row | None, week: Row | None, column: str, is_share: bool = False) -> list[Change]:
    now = day[column]
    date_column = "order_date" if "order_date" in day else "event_date"
    changes = []
    for row, words in ((before, "{:%a}"), (week, "last {:%a}")):
        if row is None or row[column] is None or now is None or (not is_share and not row[column]):
            continue
        difference = float(now - row[column]) if is_share else float(now / row[column]) - 1
        size = abs(100 * difference)
        text = f"{size:.{0 if size >= 10 else 1}f}\u202f{'pts' if is_share else '%'}"
        kind = "soft" if text.startswith("0.0") else "good" if difference > 0 else "bad"
        arrow = {"soft": "=", "good": "▲", "bad": "▼"}[kind]
        changes.append({"kind": kind, "text": f"{arrow} {text} vs {words.format(row[date_column])}"})
    return changes or [{"kind": "soft", "text": "nothing to compare with"}]


def _conversion(morning: Morning) -> dict[str, Any]:
    if not morning.funnel:
        return _tile("Visits that bought", fmt.DASH, [{"kind": "soft", "text": "no visits published"}])
    newest = morning.funnel[0]
    by_day = {row["event_date"]: row for row in morning.funnel}
    before, week = (
        next((row for day, row in by_day.items() if (newest["event_date"] - day).days == days), None) for days in (1, 7)
    )
    changes = _change(newest, before, week, "conversion_rate", is_share=True)
    return _tile("Visits that bought", fmt.share(newest["conversion_rate"]), changes)


def _score_tile(morning: Morning) -> dict[str, Any]:
    score = overall_score(morning)
    if score is None:
        return _tile("Quality score", fmt.DASH, [{"kind": "warn", "text": "not scored"}])
    failed = len(morning.failed_checks)
    text = f"{failed} check{'s' if failed != 1 else ''} failed" if failed else "all checks passed"
    return _tile("Quality score", fmt.decimal_number(score), [{"kind": _score_kind(score), "text": text}])


def _score_kind(score: float | None) -> str:
    if score is None:
        return "soft"
    return "good" if score >= GOOD_SCORE else "warn" if score >= FAIR_SCORE else "bad"


def _sources(morning: Morning, zone: ZoneInfo, written_at: datetime) -> list[Bar]:
    by_stream = {row["stream"]: row["last_event_at"] for row in morning.streams}
    newest = {name: by_stream[stream] for stream, name in SOURCES.items() if stream in by_stream}
    return age_bars(newest, written_at, zone)


def _balance(morning: Morning) -> dict[str, str]:
    if not morning.streams:
        return {"kind": "", "text": "No batch has been written yet."}
    total = {name: sum(row[name] or 0 for row in morning.streams) for name in ("batches", "rows_read")}
    off = [
        row["stream"]
        for row in morning.streams
        if row["rows_read"] != row["rows_written"] + row["rows_quarantined"] + row["rows_filtered"]
    ]
    if off:
        return {"kind": "bad", "text": f"These streams do not balance: {', '.join(off)}. See `lakehouse ledger`."}
    found = f"{fmt.count(total['rows_read'])} rows read in {fmt.count(total['batches'])} batches"
    return {"kind": "", "text": f"{found}, each written, quarantined or filtered by name."}


def _quarantine(morning: Morning) -> list[Bar]:
    longest = max((row["rows"] for row in morning.quarantine), default=0)
    return [
        Bar(fmt.words(row["reason"]), 100 * row["rows"] / longest, fmt.count(row["rows"]), fmt.words(row["stream"]))
        for row in morning.quarantine
    ]


def _days_left(days: float | None) -> str:
    if days is None:
        return fmt.DASH
    return "none" if days <= 0 else fmt.decimal_number(days)
