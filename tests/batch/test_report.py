"""The morning report says whose numbers it shows, is complete without any server, and survives what is missing."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

from click.testing import CliRunner

from batch.report import write_report, write_report_and_headline
from batch.report_commands import report
from batch.report_plots import age_bars, stock_bars
from lakehouse.settings import Settings
from tests.batch import morning_tables as tables
from tests.batch.morning_tables import DAY


class Page(HTMLParser):
    """The visible text of a page, and every address in it."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self._hidden = 0
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._hidden += tag == "style"
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page_for(settings: Settings, day: date = DAY) -> str:
    return write_report(settings, day).read_text("utf-8")


def whole_morning(settings: Settings) -> None:
    tables.publish(settings)
    tables.record_night(settings)
    tables.record_ledger(settings)
    tables.record_quality(settings)
    tables.record_quarantine(settings, {"inventory_events": {"bad_framing": 3}, "click_events": {"malformed_json": 1}})


def test_a_complete_morning_shows_every_part(settings: Settings) -> None:
    whole_morning(settings)
    text = Page(page_for(settings)).text
    assert "Sunday 22 November 2026" in text
    assert "Complete and checked Published at 06:12 on Mon 23 Nov" in text
    parts = ("Revenue by day", "Margin by category", "Margin by region", "Customer segments", "From visit to purchase")
    trust = ("Stock to reorder", "Quality score", "Freshness", "Nothing lost", "Quarantine", "Steps of the night")
    assert [part for part in (*parts, *trust) if part not in text] == []


def widths_below(source: str, heading: str) -> list[float]:
    """The widths of the bars of the card under a heading, in percent."""
    card = source.partition(f">{heading}</h")[2].partition("</section>")[0]
    return [float(width) for width in re.findall(r'<div class="track"><i[^>]* style="width:([\d.]+)%">', card)]


def test_each_day_has_a_bar_and_the_lines_are_drawn(settings: Settings) -> None:
    whole_morning(settings)
    source = page_for(settings)
    heights = re.findall(r'<div class="day(?: newest)?"><i style="height:([\d.]+)%">', source)
    assert len(heights) == 12
    assert all(float(height) > 0 for height in heights)
    mean, score = (len(points.split()) for points in re.findall(r'<polyline points="([^"]*)"', source))
    assert (mean, score) == (12 - 6, 14)  # a mean needs seven days; one score for each night


def test_each_list_of_the_page_has_its_bars(settings: Settings) -> None:
    whole_morning(settings)
    source = page_for(settings)
    bars = {
        "Margin by category": len(tables.CATEGORIES),
        "Margin by region": len(tables.REGIONS),
        "Customer segments": len(tables.SEGMENTS),
        "From visit to purchase": 5,
        "Stock to reorder": 1,
        "Freshness": len(tables.STREAMS),
        "Quarantine": 2,
    }
    widths = {heading: widths_below(source, heading) for heading in bars}
    assert {heading: len(found) for heading, found in widths.items()} == bars
    assert all(width > 0 for found in widths.values() for width in found)


def test_the_page_has_colours_of_its_own_for_dark_readers(settings: Settings) -> None:
    themes = re.findall(r"(@media \(prefers-color-scheme: dark\) \{\s*)?:root \{([^}]*)\}", page_for(settings))
    light, dark = (dict(re.findall(r"--([a-z-]+): (#\w+)", colours)) for _, colours in themes)
    assert [bool(media) for media, _ in themes] == [False, True]
    assert light.keys() == dark.keys()
    assert [name for name in light if light[name] == dark[name]] == []


def test_a_bar_of_stock_is_what_is_missing_and_red_where_an_order_comes_too_late() -> None:
    def product(sku: str, on_hand: int, days_left: float | None) -> dict[str, object]:
        row = {"sku": sku, "product_name": None, "warehouse_id": "W1", "reorder_point": 40, "lead_time_days": 7}
        return row | {"on_hand": on_hand, "days_left": days_left}

    rows = [product("A", 0, 0.0), product("B", 20, 6.9), product("C", 30, 7.0), product("D", 36, None)]
    bars = stock_bars(rows)
    assert [(bar.name, bar.width, bar.is_bad) for bar in bars] == [
        ("A, W1", 100, True),
        ("B, W1", 50, True),
        ("C, W1", 25, False),
        ("D, W1", 10, False),
    ]
    assert [bar.note for bar in bars] == ["out of stock", "lasts 6.9 days", "lasts 7.0 days", "not sold lately"]
    assert stock_bars([]) == []


def test_a_full_bar_of_age_is_the_oldest_source_and_never_less_than_a_day() -> None:
    now, zone = datetime(2026, 11, 23, 6, tzinfo=UTC), ZoneInfo("Europe/London")

    def bars(**hours: int | None) -> list[tuple[str, float, str]]:
        newest = {name: None if age is None else now - timedelta(hours=age) for name, age in hours.items()}
        return [(bar.name, bar.width, bar.value) for bar in age_bars(newest, now, zone)]

    assert bars(orders=12, clicks=6) == [("orders", 50, "12 hours"), ("clicks", 25, "6 hours")]
    assert bars(orders=48, clicks=12) == [("orders", 100, "2 days"), ("clicks", 25, "12 hours")]
    assert bars(orders=12, clicks=None) == [("orders", 50, "12 hours"), ("clicks", 0, "\u2013")]
    assert bars() == []


def test_the_headline_numbers_are_those_of_the_published_day(settings: Settings) -> None:
    whole_morning(settings)
    day = [row for row in tables.daily_sales(DAY, 12) if row["order_date"] == DAY]
    revenue, orders = sum(row["revenue"] for row in day), sum(row["orders"] for row in day)
    _, headline = write_report_and_headline(settings, DAY)
    assert headline.startswith(f"revenue {revenue:,.2f} from {orders} orders, quality 96.0 of 100")


def test_the_page_asks_no_server_and_runs_no_script(settings: Settings) -> None:
    whole_morning(settings)
    source = page_for(settings)
    page = Page(source)
    assert [address for address in page.addresses if not address.startswith("data:")] == []
    assert page.tags.isdisjoint({"script", "iframe", "img", "object", "embed", "base", "form"})
    assert "url(" not in source
    assert "@import" not in source
    assert "default-src 'none'" in source


def test_values_are_escaped(settings: Settings) -> None:
    tables.publish(settings, names=('<script>alert("x")</script> & "co"', "last"))
    message = "<img src=http://evil/x>"
    tables.record_night(settings, failed="silver", message=message)
    tables.record_quarantine(settings, {"click_events": {'bad"><b>reason': 1}})
    source = page_for(settings)
    assert "script" not in Page(source).tags
    assert "img" not in Page(source).tags
    assert "&lt;script&gt;alert(" in source


def test_a_failed_night_says_that_the_numbers_are_of_the_day_before(settings: Settings) -> None:
    tables.publish(settings, DAY - timedelta(days=1))
    tables.record_night(settings, failed="silver", message="2 checks of the silver layer failed")
    text = Page(page_for(settings)).text
    assert "These are the numbers of Saturday 21 November 2026" in text
    assert "The night of Sun 22 Nov failed in the step silver: 2 checks of the silver layer failed" in text
    assert "Complete" not in text


def test_the_sentence_for_slack_names_stale_numbers(settings: Settings) -> None:
    tables.publish(settings, DAY - timedelta(days=1))
    _, headline = write_report_and_headline(settings, DAY)
    assert headline.startswith("These are the numbers of Saturday 21 November 2026, revenue ")


def test_a_night_that_has_not_run_is_said_to_be_missing(settings: Settings) -> None:
    tables.publish(settings, DAY - timedelta(days=1))
    assert "The night of Sun 22 Nov has not been published." in Page(page_for(settings)).text


def test_a_later_night_is_not_shown_for_an_earlier_date_that_was_published(settings: Settings) -> None:
    early, late = DAY - timedelta(days=1), DAY
    tables.publish(settings, early)
    tables.publish(settings, late)
    rows = []
    for version, day in enumerate((early, late)):
        tables.record_publication(settings, day, ["agg_daily_sales"], version)
        rows += tables.read(settings, "ops/publications")
    tables.write(settings, "ops/publications", rows)
    assert "Saturday 21 November 2026" in Page(page_for(settings, early)).text
    assert 'class="tip">Sat 21 Nov' in page_for(settings, early)
    assert 'class="tip">Sun 22 Nov' not in page_for(settings, early)
    assert 'class="tip">Sun 22 Nov' in page_for(settings, late)


def test_an_earlier_date_that_is_published_again_does_not_hide_the_newer_one(settings: Settings) -> None:
    tables.publish(settings)
    again = tables.read(settings, "ops/publications")
    for row in again:
        row |= {"run_id": "again", "business_date": DAY - timedelta(days=1), "published_at": tables.at(DAY, 23)}
        row["published_at"] += timedelta(days=9)
    tables.write(settings, "ops/publications", tables.read(settings, "ops/publications") + again)
    assert "Complete and checked" in Page(page_for(settings)).text


def test_numbers_come_from_the_published_version_and_not_from_what_is_there_now(settings: Settings) -> None:
    tables.publish(settings)
    before = Page(page_for(settings)).text
    tables.write(settings, "gold/agg_daily_sales", tables.daily_sales(DAY, 3, seed=99))
    found = re.search(r"Revenue ([\d,.]+)", Page(page_for(settings)).text)
    assert found
    assert f"Revenue {found[1]}" in before


def test_nothing_at_all_is_a_page_of_plain_sentences(settings: Settings) -> None:
    text = Page(page_for(settings)).text
    for sentence in (
        "Nothing has been published yet",
        "No sales have been published up to this date.",
        "No customer has bought anything yet.",
        "Reorder points have not been published yet.",
        "This night was not scored: a check that did not run is not a pass.",
        "No stream has written a batch yet.",
        "The quarantine is empty.",
        "No step has run for this date.",
    ):
        assert sentence in text
    assert "None" not in text


def test_empty_tables_are_no_error(settings: Settings) -> None:
    whole_morning(settings)
    for name in ("gold/agg_daily_sales", "gold/daily_funnel", "gold/customer_segments", "gold/reorder_points"):
        tables.empty(settings, name)
    tables.record_publication(settings, DAY, ["agg_daily_sales", "daily_funnel", "reorder_points"], version=1)
    text = Page(page_for(settings)).text
    assert "No sales have been published up to this date." in text
    assert "Every product is above its reorder point." in text


def test_a_day_without_sales_shows_the_newest_day_and_its_name(settings: Settings) -> None:
    tables.publish(settings)
    tables.write(settings, "gold/agg_daily_sales", tables.daily_sales(DAY - timedelta(days=2), 5))
    tables.record_publication(settings, DAY, ["agg_daily_sales"], version=1)
    _, headline = write_report_and_headline(settings, DAY)
    assert "on Fri 20 Nov" in headline


def test_a_stream_that_does_not_balance_is_named(settings: Settings) -> None:
    tables.record_ledger(settings, lost=2)
    assert "These streams do not balance: orders_changes." in Page(page_for(settings)).text


def test_balanced_streams_are_counted(settings: Settings) -> None:
    tables.record_ledger(settings)
    assert (
        "50,000 rows read in 50 batches, each written, quarantined or filtered by name."
        in Page(page_for(settings)).text
    )


def test_what_took_the_points_is_listed_with_its_table(settings: Settings) -> None:
    tables.record_quality(settings)
    text = Page(page_for(settings)).text
    assert "expect quantity between silver.orders \u22124.00" in text
    assert "321 of 12,000 rows outside; expected 1 to 100" in text


def test_products_with_enough_stock_are_not_on_the_list(settings: Settings) -> None:
    tables.publish(settings, names=("Walnut desk", "Brass lamp", "Plenty of these"))
    text = Page(page_for(settings)).text
    assert "Walnut desk" in text
    assert "Plenty of these" not in text


def test_writing_the_report_again_replaces_it(settings: Settings) -> None:
    first = write_report(settings, DAY)
    tables.publish(settings)
    assert write_report(settings, DAY) == first
    assert "Complete and checked" in first.read_text("utf-8")
    assert [file.name for file in first.parent.iterdir()] == ["2026-11-22.html"]


def test_the_command_prints_path_and_headline(settings: Settings) -> None:
    tables.publish(settings)
    done = CliRunner().invoke(report, ["--date", str(DAY)], obj=settings, catch_exceptions=False)
    headline, path = done.output.splitlines()
    assert headline.startswith("revenue ")
    assert Path(path).is_file()
