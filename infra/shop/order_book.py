"""The shop's view of its own tables, and the steps of trade: each changes the book and returns the changes to make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from random import Random
from typing import Any
from zlib import crc32

from infra.shop.catalogue import (
    CUSTOMER_COLUMNS,
    Customer,
    Product,
    new_email,
    new_region,
    rows_of,
    skewed,
    to_cents,
)
from infra.shop.changes import ORDER_COLUMNS, Change, ChangeKey, Delete, Insert, Update

POSTAGE = "POST"
_QUANTITIES = (1, 2, 3, 4, 6, 8, 10, 12, 24)
_QUANTITY_WEIGHTS = (38, 22, 10, 8, 8, 4, 4, 4, 2)


@dataclass(slots=True)
class Order:
    """One row of `orders`: one product of one purchase; `updated_at` is UTC, `amount` in pounds."""

    order_id: int
    customer_id: int | None
    product_id: str
    order_date: date
    quantity: int
    amount: Decimal
    status: str
    updated_at: datetime


@dataclass
class OrderBook:
    """Present rows by key, and the first free keys."""

    customers: dict[int, Customer]
    products: dict[str, Product]
    orders: dict[int, Order]
    next_order_id: int
    next_customer_id: int

    def goods(self) -> list[Product]:
        """Products that have stock, best-selling first: an order that no category, price or name explains."""
        goods = [product for product in self.products.values() if not product.is_fee]
        return sorted(goods, key=lambda product: (crc32(product.product_id.encode()), product.product_id))

    def buyers(self) -> list[int]:
        """Customers who order; one in twenty registers and never does."""
        return [customer_id for customer_id in self.customers if customer_id % 20]

    def place(self, rng: Random, day: date, at: datetime) -> list[Order]:
        """A purchase: mostly one line, sometimes two and a postage line, of a known or (2.5 %) an anonymous buyer."""
        buyers, goods = self.buyers(), self.goods()
        buyer = None if rng.random() < 0.025 else skewed(rng, buyers)
        lines = [self._line(rng, buyer, skewed(rng, goods), day, at) for _ in range(2 if rng.random() < 0.2 else 1)]
        if POSTAGE in self.products and rng.random() < 0.07:
            postage = self.products[POSTAGE]
            lines.append(self._add(buyer, POSTAGE, day, 1, postage.unit_price, "pending", at))
        return lines

    def _line(self, rng: Random, buyer: int | None, product: Product, day: date, at: datetime) -> Order:
        quantity = rng.choices(_QUANTITIES, _QUANTITY_WEIGHTS)[0]
        discount = Decimal("0.90") if rng.random() < 0.05 else Decimal(1)
        amount = to_cents(quantity * product.unit_price * discount)
        return self._add(buyer, product.product_id, day, quantity, amount, "pending", at)

    def _add(
        self, buyer: int | None, product_id: str, day: date, quantity: int, amount: Decimal, status: str, at: datetime
    ) -> Order:
        order = Order(self.next_order_id, buyer, product_id, day, quantity, amount, status, at)
        self.orders[order.order_id] = order
        self.next_order_id += 1
        return order

    def advance(self, orders: Sequence[Order], status: str, at: datetime) -> list[Change]:
        """Give the orders their next status."""
        if not orders:
            return []
        for order in orders:
            order.status, order.updated_at = status, at
        return [Update("orders", {"status": status, "updated_at": at}, [order.order_id for order in orders])]

    def take_back(self, rng: Random, order: Order, day: date, at: datetime) -> list[Change]:
        """A return: a row of its own with negative quantity and amount."""
        quantity = rng.randint(1, order.quantity)
        amount = -to_cents(order.amount * quantity / order.quantity)
        row = self._add(order.customer_id, order.product_id, day, -quantity, amount, "delivered", at)
        return [insert_orders([row])]

    def edit_quantity(self, rng: Random, order: Order, at: datetime) -> list[Change]:
        """The buyer wants another number of the same."""
        quantity = rng.choice([number for number in _QUANTITIES[:6] if number != order.quantity])
        order.amount = to_cents(order.amount * quantity / order.quantity)
        order.quantity, order.updated_at = quantity, at
        values = {"quantity": quantity, "amount": order.amount, "updated_at": at}
        return [Update("orders", values, [order.order_id])]

    def remove_orders(self, orders: Sequence[Order]) -> list[Change]:
        """Orders that should never have been: test orders, double clicks."""
        for order in orders:
            del self.orders[order.order_id]
        return [Delete("orders", [order.order_id for order in orders])] if orders else []

    def edit_customer(self, rng: Random, customer: Customer, at: datetime) -> list[Change]:
        """A new e-mail address or another region."""
        values: dict[str, Any] = {"updated_at": at}
        if rng.random() < 0.6:
            first, _, last = customer.customer_name.partition(" ")
            values["email"] = new_email(rng, first, last, customer.customer_id)
        else:
            values["region"] = new_region(rng)
        self.customers[customer.customer_id] = replace(customer, **values)
        return [Update("customers", values, [customer.customer_id])]

    def add_customer(self, customer: Customer) -> list[Change]:
        """Someone registers."""
        self.customers[customer.customer_id] = customer
        self.next_customer_id = max(self.next_customer_id, customer.customer_id + 1)
        return [Insert("customers", rows_of([customer], CUSTOMER_COLUMNS))]

    def remove_customer(self, customer_id: int) -> list[Change]:
        """Someone asks to be forgotten; orders stay."""
        del self.customers[customer_id]
        return [Delete("customers", [customer_id])]

    def change_customer_key(self, customer_id: int, at: datetime) -> list[Change]:
        """A customer gets another number, and so do that customer's orders."""
        new = self.next_customer_id
        self.next_customer_id += 1
        self.customers[new] = replace(self.customers.pop(customer_id), customer_id=new)
        own = [order for order in self.orders.values() if order.customer_id == customer_id]
        for order in own:
            order.customer_id, order.updated_at = new, at
        moved: list[Change] = [ChangeKey("customers", customer_id, new)]
        return moved + (
            [Update("orders", {"customer_id": new, "updated_at": at}, [order.order_id for order in own])] if own else []
        )

    def reprice(self, rng: Random, product: Product, at: datetime) -> list[Change]:
        """A new price, never below 1.2 times the cost; the long description stays as it is."""
        least = to_cents((product.unit_cost or Decimal(0)) * Decimal("1.2"))
        price = max(to_cents(product.unit_price * Decimal(rng.randint(92, 110)) / 100), least)
        self.products[product.product_id] = replace(product, unit_price=price, updated_at=at)
        return [Update("products", {"unit_price": price, "updated_at": at}, [product.product_id])]


def insert_orders(orders: Sequence[Order]) -> Insert:
    """One statement for all rows, with the values that the orders have now."""
    return Insert("orders", rows_of(orders, ORDER_COLUMNS))
