"""`silver.clicks` -> `silver.sessions`: visits, with the steps of the funnel that each reached.

A visit is all clicks of a session id, however far apart. Clicks without one are tied by their user: a pause of more
than 30 minutes begins another visit. Without a user either, nothing ties a click to another: it is a visit of its own.

The id of an inferred visit is that of its first click (by time, then event id). So a click that arrives late and comes
first gives the visit another id, and a visit that a late click joins to an earlier one goes on under the earlier's id:
the table is always what a rebuild from all clicks would make.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce
from operator import and_

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from batch import cut
from lakehouse import delta_io
from lakehouse.logs import get_logger
from lakehouse.settings import Settings
from lakehouse.tables import CLICKS, SESSIONS

log = get_logger(__name__)

THROUGH = "clicks_version"
"""In the metadata of the commit: the version of silver.clicks that the visits were made of."""
PAUSE = timedelta(minutes=30)
"""A longer one ends an inferred visit."""
FUNNEL = ("product_view", "add_to_cart", "checkout", "purchase")
INFERRED = "inferred:"
BY_SESSION_ID = "session:"


def visitor() -> Column:
    """What ties clicks together: the session id, else the user, else nothing but the click itself."""
    has_session = F.trim("session_id") != ""
    has_user = F.trim("user_id") != ""
    return (
        F.when(has_session, F.concat(F.lit(BY_SESSION_ID), "session_id"))
        .when(has_user, F.concat(F.lit("user:"), "user_id"))
        .otherwise(F.concat(F.lit("event:"), "event_id"))
    )


def is_inferred() -> Column:
    """Whether the visit was made of pauses, as its clicks carry no session id."""
    return ~F.col("_visitor").startswith(BY_SESSION_ID)


def transform(clicks: DataFrame, business_time_zone: str) -> DataFrame:
    """Clicks -> visits. Right where all clicks of each visit, and of those next to it, are among `clicks`."""
    in_order = Window.partitionBy("_visitor").orderBy("event_at", "event_id")
    tied = clicks.withColumn("_visitor", visitor())
    is_after_pause = is_inferred() & (F.col("event_at") > F.lag("event_at").over(in_order) + F.lit(PAUSE))
    marked = tied.withColumn("begins", F.coalesce(is_after_pause, F.lit(False)).cast("int"))
    numbered = marked.withColumn("number", F.sum("begins").over(in_order))
    visits = numbered.groupBy("_visitor", "number").agg(*_measures())
    named = visits.withColumns(
        {
            "is_inferred": is_inferred(),
            "session_id": F.when(is_inferred(), F.concat(F.lit(INFERRED), "first.event_id")).otherwise(
                F.substring("_visitor", len(BY_SESSION_ID) + 1, 1_000_000)
            ),
            "user_id": F.col("first_user.user_id"),
            "started_at": F.col("first.event_at"),
            "duration_seconds": F.timestamp_diff("SECOND", F.col("first.event_at"), F.col("ended_at")),
            "event_date": F.to_date(F.from_utc_timestamp("first.event_at", business_time_zone)),
            "first_page_url": F.col("first.page_url"),
            "funnel_steps_in_order": _steps_in_order(F.col("steps")),
            "has_view": F.col("product_views") > 0,
            "has_cart": F.col("add_to_carts") > 0,
            "has_checkout": F.col("checkouts") > 0,
            "has_purchase": F.col("purchases") > 0,
            "_merged_at": F.current_timestamp(),
        }
    )
    return named.select(*SESSIONS.columns)


def _measures() -> list[Column]:
    def number_of(event_type: str) -> Column:
        return F.count_if(F.col("event_type") == event_type)

    step = F.array_position(F.lit(list(FUNNEL)), F.col("event_type")).cast("int")
    return [
        F.min(F.struct("event_at", "event_id", "page_url")).alias("first"),
        # Signing in during a visit tells whose visit it was from its start.
        F.min(F.when(F.trim("user_id") != "", F.struct("event_at", "event_id", "user_id"))).alias("first_user"),
        F.max("event_at").alias("ended_at"),
        F.count("*").alias("events"),
        number_of("page_view").alias("page_views"),
        number_of("product_view").alias("product_views"),
        number_of("add_to_cart").alias("add_to_carts"),
        number_of("checkout").alias("checkouts"),
        number_of("purchase").alias("purchases"),
        F.array_sort(F.collect_set("product_id")).alias("product_ids"),
        F.array_sort(F.collect_list(F.struct("event_at", "event_id", step.alias("step")))).alias("steps"),
    ]


def _steps_in_order(steps: Column) -> Column:
    """How many steps of the funnel the visit went in their order: a purchase without a view before it is none."""
    return F.aggregate(
        steps, F.lit(0), lambda reached, one: F.when(one["step"] == reached + 1, reached + 1).otherwise(reached)
    )


def run(spark: SparkSession, settings: Settings) -> int:
    """Make the visits anew that clicks came to, moved in or left; returns how many changed. None changed: no commit."""
    delta_io.ensure(spark, SESSIONS, settings)
    begun_at = delta_io.version(spark, SESSIONS, settings)
    through = delta_io.newest_metadata(spark, SESSIONS, settings, THROUGH).get(THROUGH)
    newest = delta_io.version(spark, CLICKS, settings)
    if through == newest:
        return 0
    clicks = delta_io.read(spark, CLICKS, settings, newest)
    standing = delta_io.read(spark, SESSIONS, settings, begun_at)
    touched = _touched(spark, settings, through, newest)
    if touched is not None:
        standing = _near(standing, touched).persist()
        clicks = _clicks_of(clicks, standing, touched, settings.business_time_zone)
    changed = _differences(transform(clicks, settings.business_time_zone), standing).persist()
    try:
        visits = changed.count()
        if visits:
            dates = sorted(row[0] for row in standing.select("event_date").distinct().collect())
            with cut.commit_of(spark, SESSIONS, begun_at, {THROUGH: newest}):
                _merge(spark, settings, changed, dates)
        log.info("silver_merged", table=SESSIONS.name, visits=visits, from_scratch=touched is None)
        return visits
    finally:
        for frame in (changed, standing, touched):
            if frame is not None:
                frame.unpersist()


def _touched(spark: SparkSession, settings: Settings, through: int | None, newest: int) -> DataFrame | None:
    """Visitors and times (`_visitor`, `event_at`) of the clicks that came or went since version `through`; None where
    that can't be known any more, and all visits have to be made anew.
    """
    if through is None or through > newest:
        return None
    try:
        changes = delta_io.changes_since(spark, CLICKS, settings, through, newest)
        touched = changes.select(visitor().alias("_visitor"), "event_at").distinct().persist()
        touched.count()
    except (PySparkException, Py4JJavaError) as error:
        # The feed was switched on later, or the files of old versions were cleaned away.
        log.warning("sessions_from_scratch", reason=str(error)[:200])
        return None
    return touched


def _near(visits: DataFrame, touched: DataFrame) -> DataFrame:
    """The visits that the touched clicks belong to, or may belong to."""
    at = F.col("touched.event_at")
    is_in_reach = (F.col("visit.started_at") <= at + F.lit(PAUSE)) & (F.col("visit.ended_at") >= at - F.lit(PAUSE))
    is_same = F.col("visit._visitor") == F.col("touched._visitor")
    is_near = is_same & (is_in_reach | ~F.col("visit.is_inferred"))
    return visits.alias("visit").join(touched.alias("touched"), is_near, how="left_semi")


def _clicks_of(clicks: DataFrame, visits: DataFrame, touched: DataFrame, business_time_zone: str) -> DataFrame:
    """All clicks of the visits and those that were touched, read from the days of these only."""
    spans = visits.select("_visitor", F.col("started_at").alias("from_at"), F.col("ended_at").alias("to_at"))
    spans = spans.union(touched.select("_visitor", "event_at", "event_at"))
    first, last = (F.to_date(F.from_utc_timestamp(at, business_time_zone)) for at in ("from_at", "to_at"))
    days = [row[0] for row in spans.select(F.explode(F.sequence(first, last))).distinct().collect()]
    near = clicks.where(F.col("event_date").isin(days)).withColumn("_visitor", visitor())
    is_within = F.col("click.event_at").between(F.col("span.from_at"), F.col("span.to_at"))
    is_same = F.col("click._visitor") == F.col("span._visitor")
    is_of_one = is_same & (is_within | F.col("click._visitor").startswith(BY_SESSION_ID))
    return near.alias("click").join(spans.alias("span"), is_of_one, how="left_semi")


def _differences(visits: DataFrame, standing: DataFrame) -> DataFrame:
    """The visits that are not in the table like this, and, marked `_is_gone`, those in it that are none any more."""
    compared = [name for name in SESSIONS.columns if name != "_merged_at"]
    written = visits.select(*compared).exceptAll(standing.select(*compared))
    gone = standing.select(*compared).join(visits.select(*SESSIONS.keys), on=list(SESSIONS.keys), how="left_anti")
    marked = written.withColumn("_is_gone", F.lit(False)).unionByName(gone.withColumn("_is_gone", F.lit(True)))
    return marked.withColumn("_merged_at", F.current_timestamp())


def _merge(spark: SparkSession, settings: Settings, changed: DataFrame, dates: list[date]) -> None:
    is_same = reduce(and_, [F.col(f"row.{name}") == F.col(f"visit.{name}") for name in SESSIONS.keys])
    # The days of the visits that stand: Delta reads and writes no other partition to find them.
    is_near = F.col("row.event_date").isin(dates)
    merge = delta_io.table(spark, SESSIONS, settings).alias("row").merge(changed.alias("visit"), is_near & is_same)
    merge = merge.whenMatchedDelete(condition=F.col("visit._is_gone")).whenMatchedUpdateAll()
    merge.whenNotMatchedInsertAll(condition=~F.col("visit._is_gone")).execute()
