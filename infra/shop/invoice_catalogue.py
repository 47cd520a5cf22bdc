"""Customers and products as an invoice file implies them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from statistics import median
from zoneinfo import ZoneInfo

from infra.shop.catalogue import FEES, Customer, Product, to_cents
from infra.shop.invoices import InvoiceLine, in_zone

FEE_CODES = frozenset({"post", "d", "dot", "m", "c2", "s", "b", "bank charges", "amazonfee", "cruk", "pads"})
"""Stock codes that are no products, in lower case: postage, discounts, manual entries, charges, samples."""
VOUCHER_PREFIX = "gift_"
"""Vouchers are no products either; their codes name the amount."""
OTHER = "Other gifts"
_COST_SHARE = Decimal("0.60")
# The first category with a word of the name wins; a closing S makes no difference.
_CATEGORY_WORDS = (
    ("Christmas", "CHRISTMAS XMAS ADVENT REINDEER SANTA SNOWFLAKE SNOWMAN BAUBLE STOCKING"),
    ("Candles and lights", "CANDLE T-LIGHT TLIGHT LANTERN LIGHT LAMP LAMPSHADE CANDLESTICK"),
    ("Jewellery", "NECKLACE BRACELET EARRING RING BANGLE BROOCH DIAMANTE CHARM"),
    ("Garden", "GARDEN BIRD BIRDHOUSE PLANTER WATERING SEED GNOME PARASOL PICNIC"),
    ("Toys", "DOLL DOLLY TOY GAME JIGSAW PUZZLE CHILDREN CHILDREN' SKITTLE SOLDIER PLAYHOUSE DOMINOE LUDO BABUSHKA"),
    ("Kitchen", "MUG CUP BOWL PLATE TEA TEAPOT CAKE BAKING KITCHEN JAR LUNCH CUTLERY JUG TRAY COFFEE SPOON APRON EGG"),
    ("Bags and boxes", "BAG BOX BOXES PURSE CASE TIN BASKET TRUNK SUITCASE WALLET SHOPPER"),
    ("Stationery", "CARD PAPER NOTEBOOK PEN PENCIL WRAP STICKER TAPE RIBBON ALBUM JOURNAL TAG ENVELOPE CHALKBOARD"),
    (
        "Home",
        "SIGN FRAME CLOCK CUSHION HOLDER MIRROR DOORMAT DRAWER HOOK KNOB HANGER HANGING BOTTLE CABINET GARLAND HEART",
    ),
)
_WORDS = [(category, frozenset(words.split())) for category, words in _CATEGORY_WORDS]


def is_fee(stock_code: str) -> bool:
    """Whether the code stands for a charge or a voucher, in either case (README, "What counts as revenue")."""
    code = stock_code.lower()
    return code in FEE_CODES or code.startswith(VOUCHER_PREFIX)


def category_of(stock_code: str, name: str) -> str:
    """Fees by code; else by the words of the name, else "Other gifts"."""
    if is_fee(stock_code):
        return FEES
    words = {word.strip(".,!?'\"()") for word in name.upper().replace("/", " ").split()}
    words |= {word.removesuffix("S") for word in words}
    return next((category for category, keys in _WORDS if words & keys), OTHER)


@dataclass
class _CodeFacts:
    first_seen: datetime
    names: Counter[str] = field(default_factory=Counter)
    prices: Counter[Decimal] = field(default_factory=Counter)


class InvoiceCatalogue:
    """Collects what the lines tell about customers and products; lines must come in the file's order."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._customers: dict[int, Customer] = {}
        self._codes: dict[str, _CodeFacts] = {}
        self.lines = 0

    def collect(self, lines: Iterable[InvoiceLine]) -> InvoiceCatalogue:
        """Take in all lines; the first line of a customer tells the region."""
        for line in lines:
            self.lines += 1
            moment = in_zone(line.invoiced, self._zone)
            if line.customer_id is not None and line.customer_id not in self._customers:
                name = f"Customer {line.customer_id}"
                self._customers[line.customer_id] = Customer(
                    line.customer_id, name, None, line.country or None, moment, moment
                )
            facts = self._codes.setdefault(line.stock_code, _CodeFacts(moment))
            if line.description:
                facts.names[line.description] += 1
            if line.unit_price > 0:
                facts.prices[line.unit_price] += 1
        return self

    def customers(self) -> list[Customer]:
        """In the order of their first lines."""
        return list(self._customers.values())

    def products(self) -> list[Product]:
        """In the order of their first lines."""
        return [_product(code, facts) for code, facts in self._codes.items()]


def _product(code: str, facts: _CodeFacts) -> Product:
    """The most frequent description (the first of equals), the median of prices above zero, 60 % of it as cost."""
    name = max(facts.names, key=lambda one: facts.names[one]) if facts.names else code
    price = to_cents(_median(list(facts.prices.elements())))
    cost = to_cents(price * _COST_SHARE)
    description = f"{name.capitalize()}. Stock code {code}."
    return Product(code, name, category_of(code, name), description, cost, price, facts.first_seen)


def _median(prices: Sequence[Decimal]) -> Decimal:
    return median(prices) if prices else Decimal(0)
