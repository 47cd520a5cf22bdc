"""What the morning report says, as plain values: each function answers one question of the reader from the tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from batch.report_tables import Publication, ReportTables, Row
from lakehouse.settings import Settings

SALES_WINDOW_DAYS = 60
MARGIN_WINDOW_DAYS = 28
LONGEST_STOCK_LIST = 15

SOURCES = {
    "orders_changes": "Orders (Postgres)",
    "customers_changes": "Customers (Postgres)",
    "products_changes": "Products (Postgres)",
    "inventory_events": "Stock movements (Kafka)",
    "click_events": "Clicks (S3)",
    "heartbeats_changes": "Heartbeat of the source",
}


@dataclass(frozen=True)
class Morning:
    """All that the page shows about one business date. Lists are empty where nothing is known."""

    business_date: date
    publication: Publication | None
    runs: list[Row]
    daily: list[Row]
    """One row per day up to the business date: order_date, revenue, orders, average_order_value, profit, margin."""
    by_category: list[Row]
    by_region: list[Row]
    segments: list[Row]
    funnel: list[Row]
    reorder: list[Row]
    scores: list[Row]
    score_history: list[Row]
    lost_points: list[Row]
    failed_checks: list[Row]
    streams: list[Row]
    quarantine: list[Row]

    @property
    def is_current(self) -> bool:
        """Whether the numbers are those of the business date, and not of an earlier one."""
        return self.publication is not None and self.publication.business_date == self.business_date

    @property
    def failed_step(self) -> Row | None:
        """The step in which the newest run for the business date failed, if it did."""
        return next((run for run in self.runs if run["status"] == "failed"), None)

    @property
    def numbers_date(self) -> date | None:
        """The date whose numbers are shown."""
        return self.publication.business_date if self.publication else None


def read_morning(settings: Settings, business_date: date) -> Morning:
    """Read everything that the page shows about a business date. Missing tables give empty lists."""
    tables = ReportTables(settings)
    publication = tables.publication(business_date)
    tables.add_gold(publication)
    for name in ("runs", "quality_scores", "quality_results", "ledger"):
        tables.add(name, "ops")
    day = min(business_date, publication.business_date) if publication else business_date
    return Morning(
        business_date=business_date,
        publication=publication,
        runs=_runs(tables, business_date),
        daily=_daily(tables, day),
        by_category=_margin_by(tables, "category", day),
        by_region=_margin_by(tables, "region", day),
        segments=_segments(tables),
        funnel=_funnel(tables, day),
        reorder=_reorder(tables),
        scores=_scores(tables, business_date),
        score_history=_score_history(tables, business_date),
        lost_points=_lost_points(tables, business_date),
        failed_checks=_failed_checks(tables, business_date),
        streams=_streams(tables),
        quarantine=_quarantine(tables),
    )


def _runs(tables: ReportTables, day: date) -> list[Row]:
    return tables.rows(
        "runs",
        "select * from runs where business_date = $day and run_id = "
        "(select run_id from runs where business_date = $day order by started_at desc limit 1) order by started_at",
        day=day,
    )


def _daily(tables: ReportTables, day: date) -> list[Row]:
    return tables.rows(
        "agg_daily_sales",
        "select order_date, sum(revenue) as revenue, sum(orders)::bigint as orders, "
        "sum(average_order_value * orders) / nullif(sum(orders), 0) as average_order_value, "
        "sum(profit) as profit, sum(profit) / nullif(sum(costed_revenue), 0) as margin "
        "from agg_daily_sales where order_date <= $day group by order_date order by order_date",
        day=day,
    )


def _margin_by(tables: ReportTables, column: str, day: date) -> list[Row]:
    # `column` is one of two literals of this module.
    return tables.rows(
        "agg_daily_sales",
        f"select {column} as name, sum(revenue) as revenue, sum(profit) / nullif(sum(costed_revenue), 0) as margin "  # noqa: S608
        "from agg_daily_sales where order_date <= $day and order_date > $day - $window::int "
        "group by all having sum(revenue) <> 0 order by revenue desc",
        day=day,
        window=MARGIN_WINDOW_DAYS,
    )


def _segments(tables: ReportTables) -> list[Row]:
    return tables.rows(
        "customer_segments",
        "select segment as name, count(*) as customers, sum(monetary) as monetary, avg(recency_days) as recency_days "
        "from customer_segments group by segment order by monetary desc nulls last",
    )


def _funnel(tables: ReportTables, day: date) -> list[Row]:
    return tables.rows(
        "daily_funnel",
        "select * from daily_funnel where event_date <= $day order by event_date desc limit 8",
        day=day,
    )


def _reorder(tables: ReportTables) -> list[Row]:
    if tables.rows("reorder_points dim_products", "select 1 as found limit 1"):
        names = "left join dim_products p on p.product_id = r.sku"
        name, is_stocked = "p.product_name", "coalesce(not p.is_deleted, true)"
    else:
        names, name, is_stocked = "", "null", "true"
    return tables.rows(
        "reorder_points",
        f"select r.*, {name} as product_name, r.on_hand / nullif(r.daily_demand, 0) as days_left "  # noqa: S608
        f"from reorder_points r {names} "
        f"where r.on_hand <= r.reorder_point and r.suggested_quantity > 0 and {is_stocked} "
        "order by days_left nulls last, r.suggested_quantity desc, r.sku, r.warehouse_id",
    )


def _scores(tables: ReportTables, day: date) -> list[Row]:
    return tables.rows(
        "quality_scores",
        "select * from quality_scores where business_date = $day and run_id = "
        "(select run_id from quality_scores where business_date = $day order by scored_at desc limit 1) "
        "order by table_name, dimension",
        day=day,
    )


def _score_history(tables: ReportTables, day: date) -> list[Row]:
    return tables.rows(
        "quality_scores",
        "select business_date, arg_max(score, scored_at) as score from quality_scores "
        "where table_name = 'all' and dimension = 'all' and business_date <= $day and business_date > $day - 30 "
        "group by business_date order by business_date",
        day=day,
    )


def _lost_points(tables: ReportTables, day: date) -> list[Row]:
    # The row of the whole night lists `table: check` with the points that each took from the overall score.
    return tables.rows(
        "quality_scores",
        "select split_part(lost.check_name, ': ', 1) as table_name, "
        "substr(lost.check_name, length(split_part(lost.check_name, ': ', 1)) + 3) as check_name, "
        "lost.points as points "
        "from (select unnest(points_lost_by) as lost from quality_scores "
        "where business_date = $day and table_name = 'all' and dimension = 'all' and run_id = "
        "(select run_id from quality_scores where business_date = $day order by scored_at desc limit 1)) "
        "where lost.points > 0 order by points desc, table_name, check_name",
        day=day,
    )


def _failed_checks(tables: ReportTables, day: date) -> list[Row]:
    return tables.rows(
        "quality_results",
        "select * from quality_results where business_date = $day and not is_success and run_id = "
        "(select run_id from quality_results where business_date = $day order by checked_at desc limit 1) "
        "order by is_blocking desc, layer, table_name, check_name",
        day=day,
    )


def _streams(tables: ReportTables) -> list[Row]:
    return tables.rows(
        "ledger",
        "select stream, count(*) as batches, sum(rows_read)::bigint as rows_read, "
        "sum(rows_written)::bigint as rows_written, sum(rows_quarantined)::bigint as rows_quarantined, "
        "sum(coalesce(list_sum(map_values(filtered)), 0))::bigint as rows_filtered, "
        "max(last_event_at) as last_event_at, max(committed_at) as committed_at "
        "from ledger where kind = 'batch' group by stream order by stream",
    )


def _quarantine(tables: ReportTables) -> list[Row]:
    rows: list[Row] = []
    for stream in SOURCES:
        if tables.add(f"quarantine/{stream}", "ops", called="rejected"):
            rows += tables.rows(
                "rejected",
                "select $stream as stream, reason, count(*) as rows "
                "from (select unnest(reasons) as reason from rejected) group by reason",
                stream=stream,
            )
    return sorted(rows, key=lambda row: (-row["rows"], row["stream"], row["reason"]))


def day_of(daily: list[Row], day: date) -> Row | None:
    """The row of one day, or None."""
    return next((row for row in daily if row["order_date"] == day), None)


def headline_day(morning: Morning) -> Row | None:
    """The newest day with sales up to the business date: the day that the headline numbers are about."""
    return morning.daily[-1] if morning.daily else None


def days_before(daily: list[Row], row: Row, days: int) -> Row | None:
    """The row that lies `days` before `row`, if that day had sales."""
    return day_of(daily, row["order_date"] - timedelta(days=days))


def overall_score(morning: Morning) -> float | None:
    """The night's score, 0 to 100; None when the night was not scored."""
    row = next((row for row in morning.scores if row["table_name"] == row["dimension"] == "all"), None)
    return float(row["score"]) if row else None
