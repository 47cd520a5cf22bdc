"""Reads invoice files of the UCI "Online Retail" format (D. Chen, 2015, doi 10.24432/C5BW33), line by line.

Facts of the first week of that data (14,594 lines, 1 to 7 December 2010), computed from the file: quantity from -9,360
to 2,880, 321 lines outside 1 to 100 (219 of them negative), 4,265 lines without a customer, 124 lines with a price of
zero and none below, 60 lines with one of eight fee codes, 2,246 stock codes, amounts from -403.20 to 1,627.20 that sum
to 252,979.77.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from zoneinfo import ZoneInfo

from infra.shop.catalogue import to_cents
from infra.shop.errors import InvoiceColumnsMissing, InvoiceFileWrong, InvoiceLineMalformed

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
_US_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2}) (\d{1,2}):(\d{2})(?::(\d{2}))?")
_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})[ T](\d{1,2}):(\d{2})(?::(\d{2})(?:\.0+)?)?")
_WHOLE = re.compile(r"-?\d+(?:\.0+)?")
_CUSTOMER = re.compile(r"\d+(?:\.0+)?")
_INT4 = 2**31
_AMOUNT_LIMIT = Decimal(10) ** 10


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One line of the file. `number` counts from 1 after the header; times are wall clock in the business zone."""

    number: int
    invoice: str
    stock_code: str
    description: str
    quantity: int
    invoiced: datetime
    unit_price: Decimal
    customer_id: int | None
    country: str

    @property
    def amount(self) -> Decimal:
        """Quantity x unit price, to two places, half up (away from zero)."""
        return to_cents(self.quantity * self.unit_price)

    @property
    def order_date(self) -> date:
        """The date as written in the file."""
        return self.invoiced.date()


def file_digest(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal. Raises `InvoiceFileWrong` when there is no such file."""
    try:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise InvoiceFileWrong(
            f"The invoice file {path} can't be read ({type(error).__name__}): give the path of a CSV file."
        ) from None


def read_invoices(path: Path) -> Iterator[InvoiceLine]:
    """All lines in the file's order; empty lines are passed over and not counted. UTF-8, or else Latin-1.

    Raises `InvoiceColumnsMissing` for the header, `InvoiceLineMalformed` for the first line that can't be read.
    """
    with path.open(encoding=_encoding(path), newline="") as content:
        reader = csv.reader(content, strict=True)
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise InvoiceColumnsMissing(path, missing, COLUMNS)
        places = [header.index(name) for name in COLUMNS]
        number = 0
        try:
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise InvoiceLineMalformed(
                        path,
                        reader.line_num,
                        "the number of fields",
                        str(len(fields)),
                        f"{len(header)}, as in the header",
                    )
                number += 1
                yield _LineParser(path, reader.line_num).parse(number, [fields[place].strip() for place in places])
        except csv.Error as error:
            raise InvoiceLineMalformed(path, reader.line_num, "the quoting", str(error), "CSV") from None


def _encoding(path: Path) -> str:
    """Spreadsheets save the same data in either of two encodings; Latin-1 reads anything, so UTF-8 is tried first."""
    try:
        with path.open(encoding="utf-8", newline="") as content:
            while content.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


@dataclass(frozen=True, slots=True)
class _LineParser:
    """Turns the fields of one line into values, or names the one that can't be."""

    path: Path
    line: int

    def parse(self, number: int, fields: list[str]) -> InvoiceLine:
        invoice, stock_code, description, quantity, invoiced, unit_price, customer, country = fields
        if not stock_code:
            raise self._wrong("StockCode", stock_code, "a code")
        line = InvoiceLine(
            number=number,
            invoice=invoice,
            stock_code=stock_code,
            description=description,
            quantity=self._quantity(quantity),
            invoiced=self._moment(invoiced),
            unit_price=self._price(unit_price),
            customer_id=self._customer(customer),
            country=country,
        )
        if abs(line.amount) >= _AMOUNT_LIMIT:
            raise self._wrong("Quantity x UnitPrice", f"{quantity} x {unit_price}", "less than ten thousand million")
        return line

    def _quantity(self, text: str) -> int:
        if not _WHOLE.fullmatch(text) or abs(int(text.partition(".")[0])) >= _INT4:
            raise self._wrong("Quantity", text, "a whole number")
        return int(text.partition(".")[0])

    def _price(self, text: str) -> Decimal:
        try:
            price = Decimal(text)
        except InvalidOperation:
            raise self._wrong("UnitPrice", text, "a decimal number such as 2.55") from None
        if not price.is_finite() or abs(price) >= _AMOUNT_LIMIT:
            raise self._wrong("UnitPrice", text, "a decimal number such as 2.55")
        return price

    def _customer(self, text: str) -> int | None:
        if not text:
            return None
        if not _CUSTOMER.fullmatch(text) or len(text) > 18:
            raise self._wrong("CustomerID", text, "a number or nothing")
        return int(text.partition(".")[0])

    def _moment(self, text: str) -> datetime:
        expected = "M/D/YY H:MM, M/D/YYYY H:MM or YYYY-MM-DD HH:MM"
        try:
            if match := _US_DATE.fullmatch(text):
                month, day, year, hour, minute, second = (int(part or 0) for part in match.groups())
                return datetime(year + 2000 if year < 100 else year, month, day, hour, minute, second)  # noqa: DTZ001
            if match := _ISO_DATE.fullmatch(text):
                return datetime(*(int(part or 0) for part in match.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
        except ValueError:
            pass
        raise self._wrong("InvoiceDate", text, expected)

    def _wrong(self, column: str, found: str, expected: str) -> InvoiceLineMalformed:
        return InvoiceLineMalformed(self.path, self.line, column, found, expected)


def in_zone(wall_clock: datetime, zone: ZoneInfo) -> datetime:
    """A wall-clock time of the business zone as a moment; the earlier of two when clocks are set back."""
    return wall_clock.replace(tzinfo=zone)
