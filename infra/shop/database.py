"""The shop's Postgres: reads its own tables back, and brings transactions through with the account in step."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import psycopg
from psycopg import sql

from infra.shop.bookkeeping import AccountBook
from infra.shop.catalogue import FEES, FIRST_CUSTOMER_ID, Customer, Product
from infra.shop.changes import COLUMNS, KEYS, Change, ChangeKey, Delete, Insert, Transaction, Update
from infra.shop.errors import AccountUnsettled, RowsNotFound, TablesNotReady
from infra.shop.order_book import Order, OrderBook
from lakehouse.errors import ServiceUnreachable
from lakehouse.settings import Settings

FIRST_ORDER_ID = 100_001
_STATEMENT_SECONDS = 60


class ShopDatabase:
    """One connection; one transaction at a time."""

    def __init__(self, settings: Settings) -> None:
        self._address = f"{settings.postgres_host}:{settings.postgres_port}"
        try:
            self._connection = psycopg.connect(
                **settings.postgres_conninfo,  # type: ignore[arg-type]
                autocommit=True,
                connect_timeout=10,
                application_name="shop",
                options=f"-c statement_timeout={_STATEMENT_SECONDS}s -c timezone=UTC",
            )
        except psycopg.OperationalError as error:
            reason = next(iter(str(error).strip().splitlines()), "no reason given").strip()
            raise ServiceUnreachable("Postgres", self._address, f"Run `lakehouse up` first ({reason}).") from None

    def identity(self) -> str:
        """The cluster's own number; another database, also a restored one, may share it, a new one does not."""
        [identifier] = self._one("SELECT system_identifier::text FROM pg_control_system()")
        return str(identifier)

    def require_tables(self, empty: bool) -> None:
        """Raises `TablesNotReady` when a table is missing, or (where `empty` is asked for) holds a row."""
        missing = [name for name in COLUMNS if self._one("SELECT to_regclass(%s)", f"public.{name}")[0] is None]
        if missing:
            cure = "`lakehouse up` makes them in the embedded stack; elsewhere run the SQL files of infra/postgres."
            raise TablesNotReady(f"Postgres has no table {', '.join(missing)}: {cure}")
        filled = [name for name in COLUMNS if empty and self.keys(name, limit=1)]
        if filled:
            cure = "Run `lakehouse reset`, or give the shop a database of its own."
            raise TablesNotReady(f"No account of a shop knows the rows that are in {', '.join(filled)}. {cure}")

    def apply(self, transaction: Transaction, book: AccountBook, next_ids: dict[str, int]) -> None:
        """Bring one transaction through: statements, intent with the transaction's id, commit, outcome.

        Raises `RowsNotFound` (and rolls back) when a statement does not change exactly the rows that it names.
        """
        with self._reachable(), self._connection.transaction():
            [transaction_id] = self._one("SELECT pg_current_xact_id()::text")
            for change in transaction.changes:
                self._change(change)
            facts = {"tag": transaction.tag} if transaction.tag else {}
            entry = book.intend(
                "postgres", transaction_id=transaction_id, rows=transaction.counts(), next_ids=next_ids, **facts
            )
        book.confirm(entry)

    def transaction_committed(self, entry: int, transaction_id: str) -> bool:
        """Whether a dead shop's transaction was committed. Raises `AccountUnsettled` when Postgres can't say."""
        for _ in range(100):
            [status] = self._one("SELECT pg_xact_status(%s::xid8)", transaction_id)
            if status in ("committed", "aborted"):
                return bool(status == "committed")
            if status is None:
                raise AccountUnsettled(entry, f"Postgres no longer knows transaction {transaction_id}")
            time.sleep(0.1)
        raise AccountUnsettled(entry, f"transaction {transaction_id} is still in progress")

    def load_book(self, next_ids: dict[str, int]) -> OrderBook:
        """All present rows; `next_ids` are the first keys that were never given out."""
        customers = {row[0]: Customer(*row) for row in self._rows("customers")}
        products = {row[0]: Product(*row) for row in self._rows("products")}
        orders = {row[0]: Order(*row) for row in self._rows("orders")}
        return OrderBook(
            customers,
            products,
            orders,
            next_order_id=max(next_ids.get("orders", FIRST_ORDER_ID), max(orders, default=0) + 1),
            next_customer_id=max(next_ids.get("customers", FIRST_CUSTOMER_ID), max(customers, default=0) + 1),
        )

    def products_by_sales(self, count: int) -> list[Product]:
        """The `count` products with most order rows, without fees; without the long description."""
        rows = self._connection.execute(
            "SELECT p.product_id, p.product_name, p.category, NULL, p.unit_cost, p.unit_price, p.updated_at"
            " FROM products p JOIN orders o USING (product_id) WHERE p.category IS DISTINCT FROM %s"
            " GROUP BY p.product_id ORDER BY count(*) DESC, p.product_id LIMIT %s",
            (FEES, count),
        )
        return [Product(*row) for row in rows]

    def keys(self, table: str, limit: int) -> list[Any]:
        """Up to `limit` keys of a table, smallest first."""
        query = sql.SQL("SELECT {key} FROM {table} ORDER BY 1 LIMIT {limit}").format(
            key=sql.Identifier(KEYS[table]), table=sql.Identifier(table), limit=sql.Literal(limit)
        )
        return [row[0] for row in self._connection.execute(query)]

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self._connection.close()

    def __enter__(self) -> ShopDatabase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def copy_in(self, table: str, rows: Iterable[Sequence[Any]]) -> int:
        """Stream rows into a table inside the open transaction; returns their number."""
        statement = sql.SQL("COPY {table} ({columns}) FROM STDIN").format(
            table=sql.Identifier(table), columns=sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table]))
        )
        with self._connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
            return cursor.rowcount

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """A lost connection becomes one sentence; whether the transaction came through is settled at the next start."""
        try:
            yield
        except psycopg.OperationalError as error:
            cure = f"Run the shop again when it is back ({type(error).__name__})."
            raise ServiceUnreachable("Postgres", self._address, cure) from None

    def _change(self, change: Change) -> None:
        table, key = sql.Identifier(change.table), sql.Identifier(KEYS[change.table])
        match change:
            case Insert():
                expected, found = len(change.rows), self.copy_in(change.table, change.rows)
            case Update():
                pairs = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in change.values]
                query = sql.SQL("UPDATE {} SET {} WHERE {} = ANY(%s)").format(table, sql.SQL(", ").join(pairs), key)
                expected, found = len(change.keys), self._changed(query, [*change.values.values(), change.keys])
            case Delete():
                query = sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(table, key)
                expected, found = len(change.keys), self._changed(query, [change.keys])
            case ChangeKey():
                query = sql.SQL("UPDATE {} SET {} = %s WHERE {} = %s").format(table, key, key)
                expected, found = 1, self._changed(query, [change.new, change.old])
        if found != expected:
            raise RowsNotFound(change.table, type(change).__name__.lower(), found, expected)

    def _changed(self, query: sql.Composed, values: Sequence[Any]) -> int:
        return self._connection.execute(query, values).rowcount

    def _one(self, query: str, *values: Any) -> tuple[Any, ...]:
        row = self._connection.execute(query, values).fetchone()
        assert row is not None
        return tuple(row)

    def _rows(self, table: str) -> list[tuple[Any, ...]]:
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table]))
        query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
            columns, sql.Identifier(table), sql.Identifier(KEYS[table])
        )
        return self._connection.execute(query).fetchall()
