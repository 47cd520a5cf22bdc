"""What the demo compares: it finds an alert that was raised twice, and a level that is not the shop's."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from infra.demo.alerts import out_of_turn
from infra.demo.checks import stock_levels
from infra.shop.account import Account, ExpectedAlert, Level
from lakehouse.settings import Settings
from lakehouse.tables import INVENTORY_LEVELS


def alerts(*kinds: str, sku: str = "P1", warehouse: str = "W1") -> list[dict[str, Any]]:
    """Rows of `ops.alerts` for one product and warehouse, a sequence for each."""
    return [
        {"sku": sku, "warehouse_id": warehouse, "kind": kind, "sequence": sequence}
        for sequence, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    "kinds",
    [
        ("opened", "closed", "opened"),
        ("opened", "escalated", "closed", "opened", "escalated"),
    ],
)
def test_episodes_one_after_the_other_are_in_turn(kinds: tuple[str, ...]) -> None:
    assert out_of_turn(alerts(*kinds)) == []


@pytest.mark.parametrize(
    ("kinds", "wrong"),
    [
        (("opened", "opened", "closed"), "opened"),
        (("opened", "escalated", "opened"), "opened"),
        (("opened", "escalated", "escalated"), "escalated"),
        (("escalated", "closed"), "escalated"),
        (("closed", "opened"), "closed"),
        (("opened", "closed", "closed"), "closed"),
    ],
)
def test_an_alert_that_the_one_before_does_not_allow_is_named(kinds: tuple[str, ...], wrong: str) -> None:
    assert out_of_turn(alerts(*kinds)) == [ExpectedAlert("P1", "W1", wrong)]


def test_the_order_is_that_of_the_sequences() -> None:
    assert out_of_turn(reversed(alerts("opened", "escalated", "closed"))) == []


def test_each_product_and_warehouse_has_episodes_of_its_own() -> None:
    both = ("opened", "closed")
    here, there, other = alerts(*both), alerts(*both, warehouse="W2"), alerts(*both, sku="P2")
    assert out_of_turn([*here, *there, *other]) == []


def silver_levels(settings: Settings, *rows: tuple[str, str, int, int]) -> None:
    names = ("sku", "warehouse_id", "sequence", "on_hand")
    table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})
    write_deltalake(INVENTORY_LEVELS.path(settings), table)


def test_levels_equal_the_shops_by_sequence_and_stock(settings: Settings) -> None:
    account = Account(levels={("P1", "W1"): Level(7, 40), ("P1", "W2"): Level(3, 0)})
    silver_levels(settings, ("P1", "W1", 7, 40), ("P1", "W2", 3, 0))
    check = stock_levels(settings, account)
    assert check.holds
    assert "2 levels" in check.name


@pytest.mark.parametrize(
    "rows",
    [
        [("P1", "W1", 6, 40)],
        [("P1", "W1", 7, 41)],
        [("P1", "W1", 7, 40), ("P9", "W1", 1, 5)],
        [("P9", "W1", 7, 40)],
    ],
    ids=["an older sequence", "another stock", "a level too many", "a level of another product"],
)
def test_a_level_that_is_not_the_shops_is_found(settings: Settings, rows: list[tuple[str, str, int, int]]) -> None:
    silver_levels(settings, *rows)
    assert not stock_levels(settings, Account(levels={("P1", "W1"): Level(7, 40)})).holds
