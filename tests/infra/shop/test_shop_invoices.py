from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from infra.shop.bookkeeping import AccountBook, Identity
from infra.shop.changes import Transaction
from infra.shop.errors import InvoiceColumnsMissing, InvoiceFileWrong, InvoiceLineMalformed
from infra.shop.invoice_catalogue import InvoiceCatalogue, category_of
from infra.shop.invoice_load import load_invoices
from infra.shop.invoices import InvoiceLine, read_invoices
from lakehouse.settings import Settings

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LONDON = ZoneInfo("Europe/London")
MORNING = datetime.fromisoformat("2010-12-01T08:26:00")
LINE = "536365,85123A,WHITE HANGING HEART,6,12/1/10 8:26,2.55,17850,United Kingdom"


def invoice_file(tmp_path: Path, *lines: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    path = tmp_path / "invoices.csv"
    path.write_bytes("\n".join([header, *lines, ""]).encode(encoding))
    return path


def read(tmp_path: Path, *lines: str, **options: str) -> list[InvoiceLine]:
    return list(read_invoices(invoice_file(tmp_path, *lines, **options)))


def test_a_line_becomes_values(tmp_path: Path) -> None:
    [line] = read(tmp_path, LINE)
    assert line == InvoiceLine(
        1,
        "536365",
        "85123A",
        "WHITE HANGING HEART",
        6,
        MORNING,
        Decimal("2.55"),
        17850,
        "United Kingdom",
    )
    assert (line.amount, str(line.order_date)) == (Decimal("15.30"), "2010-12-01")


@pytest.mark.parametrize(
    "written",
    [
        "12/1/10 8:26", "12/1/2010 8:26", "12/01/2010 08:26", "12/1/10 8:26:00", "2010-12-01 08:26",
        "2010-12-01T08:26:00", "2010-12-01 08:26:00.000",
    ],
)  # fmt: skip
def test_dates_are_read_in_every_form(tmp_path: Path, written: str) -> None:
    [line] = read(tmp_path, f"1,A,X,1,{written},1,,UK")
    assert line.invoiced == MORNING


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_either_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    [line] = read(tmp_path, "1,A,CRÈME £5 MUG,1,12/1/10 8:26,1,,UK", encoding=encoding)
    assert line.description == "CRÈME £5 MUG"


def test_numbers_that_a_spreadsheet_wrote_as_decimals_are_whole(tmp_path: Path) -> None:
    [line] = read(tmp_path, "1,A,X,6.0,12/1/10 8:26,2.5500,17850.0,UK")
    assert (line.quantity, line.customer_id, line.amount) == (6, 17850, Decimal("15.30"))


@pytest.mark.parametrize(
    ("quantity", "price", "amount"),
    [
        ("1", "0.005", "0.01"),
        ("-1", "0.005", "-0.01"),
        ("3", "0.115", "0.35"),
        ("-3", "0.115", "-0.35"),
        ("7", "0", "0.00"),
    ],
)
def test_amount_is_rounded_half_up_away_from_zero(tmp_path: Path, quantity: str, price: str, amount: str) -> None:
    [line] = read(tmp_path, f"C1,A,X,{quantity},12/1/10 8:26,{price},,UK")
    assert str(line.amount) == amount


def test_lines_are_numbered_from_one_and_empty_ones_are_not_counted(tmp_path: Path) -> None:
    assert [line.number for line in read(tmp_path, LINE, "", LINE)] == [1, 2]


def test_columns_may_come_in_another_order_and_with_others(tmp_path: Path) -> None:
    header = "Country,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo,Extra"
    [line] = read(tmp_path, "UK,7,1.5,12/1/10 8:26,2,X,A,9,?", header=header)
    assert (line.country, line.invoice, line.quantity) == ("UK", "9", 2)


def test_missing_columns_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(InvoiceColumnsMissing, match=r"lacks the column\(s\) StockCode, CustomerID, Country"):
        read(tmp_path, header="InvoiceNo,Description,Quantity,InvoiceDate,UnitPrice")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,A,X,six,12/1/10 8:26,1,,UK", "Line 3 of .*: Quantity is 'six', expected a whole number"),
        ("1,A,X,1.5,12/1/10 8:26,1,,UK", "Line 3 of .*: Quantity is '1.5'"),
        ("1,A,X,1,13/45/10 8:26,1,,UK", "Line 3 of .*: InvoiceDate is '13/45/10 8:26', expected M/D/YY H:MM"),
        ("1,A,X,1,1 Dec,1,,UK", "Line 3 of .*: InvoiceDate is '1 Dec'"),
        ("1,A,X,1,12/1/10 8:26,NaN,,UK", "Line 3 of .*: UnitPrice is 'NaN'"),
        ('1,A,X,1,12/1/10 8:26,"1,5",,UK', "Line 3 of .*: UnitPrice is '1,5'"),
        ("1,A,X,1,12/1/10 8:26,1,anna,UK", "Line 3 of .*: CustomerID is 'anna', expected a number or nothing"),
        ("1,,X,1,12/1/10 8:26,1,,UK", "Line 3 of .*: StockCode is ''"),
        ("1,A,X,1,12/1/10 8:26,1,", "Line 3 of .*: the number of fields is '7', expected 8"),
        ("1,A,X,2000000000,12/1/10 8:26,9,,UK", "Line 3 of .*: Quantity x UnitPrice"),
        ("1,A,X,99999999999,12/1/10 8:26,1,,UK", "Line 3 of .*: Quantity is '99999999999'"),
    ],
)
def test_malformed_line_is_named_with_its_number_and_value(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InvoiceLineMalformed, match=message):
        read(tmp_path, LINE, line)


def catalogue(tmp_path: Path, *lines: str) -> InvoiceCatalogue:
    return InvoiceCatalogue(LONDON).collect(read_invoices(invoice_file(tmp_path, *lines)))


def test_customer_has_the_country_of_the_first_line(tmp_path: Path) -> None:
    [customer] = catalogue(
        tmp_path, "1,A,X,1,7/1/10 8:26,1,7,France", "2,A,X,1,7/2/10 8:26,1,7,Spain", "3,A,X,1,7/2/10 8:26,1,,Italy"
    ).customers()
    assert (customer.customer_id, customer.customer_name, customer.email, customer.region) == (
        7,
        "Customer 7",
        None,
        "France",
    )
    assert customer.created_at.isoformat() == "2010-07-01T08:26:00+01:00"


def test_product_has_the_most_frequent_name_and_the_median_price_above_zero(tmp_path: Path) -> None:
    rows = [("", "0"), ("?", "2.00"), ("RED MUG", "1.00"), ("RED MUG", "1.25"), ("", "9.00")]
    [product] = catalogue(tmp_path, *[f"1,A,{name},1,7/1/10 8:26,{price},7,UK" for name, price in rows]).products()
    assert (product.product_name, product.unit_price, product.unit_cost) == (
        "RED MUG",
        Decimal("1.63"),
        Decimal("0.98"),
    )
    assert product.category == "Kitchen"


def test_product_that_nobody_named_or_paid_for_has_its_code_and_no_price(tmp_path: Path) -> None:
    [product] = catalogue(tmp_path, "1,22145,,-3,7/1/10 8:26,0,,UK").products()
    assert (product.product_name, product.unit_price, product.unit_cost) == ("22145", Decimal("0.00"), Decimal("0.00"))


def test_codes_are_kept_as_written(tmp_path: Path) -> None:
    products = catalogue(tmp_path, "1,85123a,X,1,7/1/10 8:26,1,7,UK", "1,85123A,X,1,7/1/10 8:26,1,7,UK").products()
    assert [product.product_id for product in products] == ["85123a", "85123A"]


@pytest.mark.parametrize(
    "code", ["POST", "D", "DOT", "M", "m", "C2", "S", "BANK CHARGES", "AMAZONFEE", "CRUK", "PADS", "B", "gift_0001_20"]
)
def test_code_that_is_no_product_is_a_fee(code: str) -> None:
    assert category_of(code, "CHRISTMAS MUG") == "Fees"


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("SET OF 6 T-LIGHTS SANTA", "Christmas"),
        ("CHRISTMAS GINGHAM TREE", "Christmas"),
        ("RED HANGING HEART T-LIGHT HOLDER", "Candles and lights"),
        ("LUNCH BAG RED RETROSPOT", "Kitchen"),
        ("ROSE PARTY BAGS", "Bags and boxes"),
        ("HAMMERED COPPER", "Other gifts"),
        ("", "Other gifts"),
    ],
)
def test_category_follows_the_words_of_the_name(name: str, category: str) -> None:
    assert category_of("22145", name) == category


class Recorder:
    """Stands for Postgres: keeps transactions, and fails at one when told to."""

    def __init__(self, fail_at: int = -1) -> None:
        self.transactions: list[Transaction] = []
        self.fail_at = fail_at

    def apply(self, transaction: Transaction, book: AccountBook, next_ids: dict[str, int]) -> None:
        if len(self.transactions) == self.fail_at:
            raise ConnectionError
        self.transactions.append(transaction)
        tag = transaction.tag or ""
        book.confirm(book.intend("postgres", transaction_id="1", rows=transaction.counts(), next_ids={}, tag=tag))


def load(path: Path, recorder: Recorder, book: AccountBook) -> int:
    return load_invoices(path, recorder, book, LONDON, lambda done, total: None)  # type: ignore[arg-type]


@pytest.fixture
def book(settings: Settings) -> AccountBook:
    book = AccountBook(settings)
    book.open(Identity("pg", "k"), 7, "2026-11-23")
    return book


@pytest.fixture(autouse=True)
def three_lines_per_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.shop.invoice_load.LINES_PER_TRANSACTION", 3)


def test_each_line_is_one_order_row_with_its_number_as_key(tmp_path: Path, book: AccountBook) -> None:
    recorder = Recorder()
    assert load(invoice_file(tmp_path, LINE, "C2,85123A,X,-1,7/1/10 23:50,2.55,,UK"), recorder, book) == 2
    [_, orders] = recorder.transactions
    [insert] = orders.changes
    rows = [(*row[:7], row[7].isoformat()) for row in insert.rows]  # type: ignore[union-attr]
    day, other = date(2010, 12, 1), date(2010, 7, 1)
    assert rows == [
        (1, 17850, "85123A", day, 6, Decimal("15.30"), "delivered", "2010-12-01T08:26:00+00:00"),
        (2, None, "85123A", other, -1, Decimal("-2.55"), "delivered", "2010-07-01T23:50:00+01:00"),
    ]


def test_malformed_last_line_leaves_nothing_half_loaded(tmp_path: Path, book: AccountBook) -> None:
    recorder = Recorder()
    with pytest.raises(InvoiceLineMalformed):
        load(invoice_file(tmp_path, *[LINE] * 10, "1,A,X,?,12/1/10 8:26,1,,UK"), recorder, book)
    assert recorder.transactions == []


def test_interrupted_load_goes_on_where_it_stopped(tmp_path: Path, book: AccountBook) -> None:
    path = invoice_file(tmp_path, *[LINE] * 10)
    broken = Recorder(fail_at=3)
    with pytest.raises(ConnectionError):
        load(path, broken, book)
    whole = Recorder()
    load(path, whole, book)
    numbers = Counter(
        row[0]
        for one in broken.transactions + whole.transactions
        for change in one.changes
        if change.table == "orders"
        for row in change.rows  # type: ignore[union-attr]
    )
    assert numbers == Counter(range(1, 11))
    assert len(whole.transactions) == 2


def test_second_load_of_the_same_file_does_nothing(tmp_path: Path, book: AccountBook) -> None:
    path = invoice_file(tmp_path, LINE)
    load(path, Recorder(), book)
    again = Recorder()
    load(path, again, book)
    assert again.transactions == []


def test_second_file_is_refused(tmp_path: Path, book: AccountBook) -> None:
    load(invoice_file(tmp_path, LINE), Recorder(), book)
    with pytest.raises(InvoiceFileWrong, match="already holds other orders"):
        load(invoice_file(tmp_path, LINE, LINE), Recorder(), book)


def test_file_that_is_not_there_is_one_sentence(tmp_path: Path, book: AccountBook) -> None:
    with pytest.raises(InvoiceFileWrong, match=r"none\.csv can't be read"):
        load(tmp_path / "none.csv", Recorder(), book)
