"""Deletes that were forgotten: what lies below the purge horizon can't be placed, and comes back by a replay."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from change_logs import BEGIN, THINGS, event
from pyspark.sql import SparkSession
from table_rows import frame
from things_nights import Night, cut_off

from batch import captured_tables, merge_memory, unmergeable
from batch.forget_deletes import forget_deletes
from batch.replay import Replayed
from lakehouse import delta_io, direct_read
from lakehouse.settings import Settings
from lakehouse.tables import ORDERS, PRODUCTS
from streaming import quarantine_standing

pytestmark = pytest.mark.slow


@pytest.fixture
def late(night: Night) -> Night:
    """A delete was forgotten; then a change of an absent key arrives from below its position."""
    night.land(event("c", 1, 10), event("d", 1, 20))
    night.merge()
    night.forget_deletes()
    night.land(event("c", 3, 12, offset=40))
    return night


def test_a_replay_that_is_cut_off_places_its_change_when_it_is_called_again(late: Night) -> None:
    late.merge()
    assert late.live() == {}
    with cut_off(2):
        late.replay()
    assert late.replay() == Replayed(1, {})
    assert late.live() == {3: "x"}
    assert late.is_what_bronze_gives()


def test_what_a_replay_that_was_cut_off_has_in_the_history_the_next_merge_has_live(late: Night) -> None:
    late.merge()
    with cut_off(2):
        late.replay()
    late.land(event("c", 4, 50))
    late.merge()
    assert late.live() == {3: "x", 4: "x"}
    assert late.is_what_bronze_gives()


def test_a_change_that_was_rejected_by_a_merge_that_was_cut_off_waits_for_the_next(late: Night) -> None:
    with cut_off(1):
        late.merge()
    assert late.replay() == Replayed(0, {})
    late.merge()
    assert late.live() == {}
    assert late.replay() == Replayed(1, {})
    assert late.live() == {3: "x"}


def test_a_truncate_brings_back_nothing_that_was_forgotten(night: Night) -> None:
    night.land(event("c", 1, 10), event("d", 1, 20), event("c", 2, 30))
    night.merge()
    night.forget_deletes()
    night.land(event("c", 3, 12, offset=40), event("t", 0, 5, offset=41), event("u", 2, 50, note="y"))
    night.merge()
    assert night.live() == {2: "y"}, "the change of 3 waits in the quarantine"
    assert delta_io.read(night.spark, THINGS.deleted, night.settings).count() == 0
    history = delta_io.read(night.spark, THINGS.history, night.settings).collect()
    assert sorted((row["id"], row["note"], row["is_current"]) for row in history) == [
        (1, "x", False),
        (2, "x", False),
        (2, "y", True),
    ]


def test_below_the_purge_horizon_a_change_of_an_absent_key_can_not_be_placed(night: Night) -> None:
    night.land(event("c", 1, 10), event("d", 1, 20), event("c", 2, 15))
    night.merge()
    assert night.forget_deletes() == 1
    night.land(event("u", 1, 12, offset=30), event("u", 2, 14, offset=31))
    night.merge()
    assert set(night.live()) == {2}
    rejected = delta_io.read(night.spark, unmergeable.quarantine(THINGS), night.settings).collect()
    assert [(row["reasons"], row["origin_position"]) for row in rejected] == [(["below_purge_horizon"], 30)]
    # Replayed, it is placed before the delete that Bronze still knows, and that is all.
    assert night.replay(is_dry_run=True) == Replayed(1, {})
    assert night.replay() == Replayed(1, {})
    assert set(night.live()) == {2}
    assert night.is_what_bronze_gives()
    assert night.replay() == Replayed(0, {})
    connection = quarantine_standing.connect(night.settings, THINGS.rejects)
    assert connection is not None
    standing = direct_read.rows(connection, "select status, attempts, count(*) from standing group by all")
    assert list(standing) == [("replayed", 1, 1)]


def product(op: str, product_id: str, lsn: int) -> dict[str, Any]:
    image = dict.fromkeys(PRODUCTS.columns.names) | {"product_id": product_id, "category": "Fees"}
    place = {"_topic": "shop.public.products", "_partition": 0, "_offset": lsn, "_ingested_at": BEGIN}
    source = {"lsn": lsn, "commit_lsn": lsn, "source_at": BEGIN, "source_incarnation": "system/1"}
    return {"key": {"product_id": product_id}, "op": op, "after": None if op == "d" else image} | source | place


def test_the_delete_of_a_product_that_an_order_names_is_not_forgotten(spark: SparkSession, settings: Settings) -> None:
    changes = [product("c", "POST", 1), product("c", "LAMP", 2), product("d", "LAMP", 10), product("d", "POST", 20)]
    delta_io.append(frame(spark, PRODUCTS.changes.schema, changes), PRODUCTS.changes, settings)
    captured_tables.run(spark, settings, PRODUCTS)
    orders = [{"order_id": 1, "product_id": "POST"}, {"order_id": 2, "product_id": "POST"}]
    delta_io.append(frame(spark, ORDERS.silver.schema, orders), ORDERS.silver, settings)
    assert forget_deletes(spark, settings, PRODUCTS, datetime(2026, 11, 24)) == 1
    remembered = delta_io.read(spark, PRODUCTS.deleted, settings).collect()
    assert [(row["product_id"], row["category"]) for row in remembered] == [("POST", "Fees")]
    horizon = merge_memory.newest(spark, PRODUCTS, settings).horizon
    assert horizon is not None
    assert horizon["lsn"] == 10, "what is remembered does not move the horizon"
    assert forget_deletes(spark, settings, PRODUCTS, datetime(2026, 11, 24)) == 0
