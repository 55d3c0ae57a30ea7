"""Products: what the shop sells, in the shape the original keeps them after cleaning."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

DUMMY_ATTRIBUTE = "DUMMY_ATTR"  # the original's attribute of a product without attributes
UNKNOWN_PRICE = 100.0  # dollars, the original's price of a product without one


@dataclass(frozen=True, slots=True)
class Product:
    """One product after the original's cleaning.

    Args:
        asin: its identifier, unique in a catalogue.
        title: the name as shown.
        price: dollars.
        price_text: the price as shown (``$12.5``, ``$10.0 to $20.0``).
        options: group (lower case) -> values (lower case), in file order.
        attributes: phrases; :data:`DUMMY_ATTRIBUTE` when none are known.
        category: the shop's top category; empty: unknown.
        query: the search that found the product, lower case; empty: unknown.
        product_category: path with ``›`` between levels; empty: unknown.
        description: full description.
        bullets: short feature lines.
        instruction: synthetic instruction of the official attribute file; empty: none.
        instruction_attributes: attributes that the synthetic instruction names.
    """

    asin: str
    title: str
    price: float
    price_text: str
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: tuple[str, ...] = (DUMMY_ATTRIBUTE,)
    category: str = ""
    query: str = ""
    product_category: str = ""
    description: str = ""
    bullets: tuple[str, ...] = ()
    instruction: str = ""
    instruction_attributes: tuple[str, ...] = ()

    @property
    def document(self) -> str:
        """What search sees: lower(title, description, first bullet, options)."""
        options = ", and ".join(f"{group}: {', '.join(values)}" for group, values in self.options.items())
        first_bullet = self.bullets[0] if self.bullets else ""
        return " ".join([self.title, self.description, first_bullet, options]).lower()


class Catalogue:
    """Products in document order, by asin (matched without case)."""

    def __init__(self, products: tuple[Product, ...]) -> None:
        self.products = products
        self._by_asin = {product.asin.lower(): product for product in products}

    def __len__(self) -> int:
        return len(self.products)

    def get(self, asin: str) -> Product | None:
        """The product with this asin, in any case."""
        return self._by_asin.get(asin.lower())


def read_price(pricing: str, rng: random.Random) -> tuple[float, str]:
    """Dollars and the text shown for the original's ``pricing`` field; a range gets a uniform price inside it.

    Raises:
        ArithmeticError: a part after a ``$`` holds no number.
    """
    parts = [float(Decimal(re.sub(r"[^\d.]", "", part))) for part in pricing.split("$")[1:]]
    if not parts:
        return UNKNOWN_PRICE, f"${UNKNOWN_PRICE}"
    if len(parts) == 1:
        return parts[0], f"${parts[0]}"
    low, high = parts[:2]
    return rng.uniform(low, high), f"${low} to ${high}"


def clean_option_value(value: str) -> str:
    """An option value as the original shows it: stripped, `` | `` for ``/``, lower case."""
    return value.strip().replace("/", " | ").lower()
