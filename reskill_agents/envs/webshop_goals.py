"""What a shopper is asked for."""

from __future__ import annotations

import random
from dataclasses import dataclass

NO_CAP = 1_000_000.0  # the original's price cap when there is none
PRICE_STEPS = tuple(10.0 * step for step in range(1, 100))  # 10, 20, ... 990 dollars


@dataclass(frozen=True, slots=True)
class Goal:
    """One shopping request and what counts as fulfilling it.

    Args:
        asin: the product it was made from.
        instruction: the request, price text included.
        attributes: phrases that the bought product must have.
        options: option values that must be chosen.
        price_upper: dollars; :data:`NO_CAP`: no cap.
        title, query, product_category: of the wanted product; they say what type is wanted.
        source: who wrote it (``human``, ``made``, ``generated``).
        weight: the original's sampling weight.
    """

    asin: str
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    price_upper: float
    title: str
    query: str = ""
    product_category: str = ""
    source: str = "made"
    weight: float = 1.0


def price_cap(price: float, rng: random.Random) -> float:
    """The original's cap: two of the first four steps above ``price``, the larger; :data:`NO_CAP` if none."""
    above = [step for step in PRICE_STEPS if step > price][:4]
    return max(rng.sample(above, 2)) if len(above) >= 2 else NO_CAP


def price_text(cap: float) -> str:
    """How the instruction says the cap."""
    return "" if cap >= NO_CAP else f", and price lower than {cap:.2f} dollars"
