"""Small builders for the tests of the shop. Import as ``from webshop_shop import ...``."""

from __future__ import annotations

from collections.abc import Mapping

from reskill_agents.envs.webshop_catalogue import Catalogue, Product
from reskill_agents.envs.webshop_goals import NO_CAP, Goal
from reskill_agents.envs.webshop_search import SearchIndex
from reskill_agents.envs.webshop_session import ShopSession


def product(
    title: str = "Oak Chair",
    *,
    asin: str = "B0CHAIR",
    price: float = 20.0,
    options: Mapping[str, tuple[str, ...]] | None = None,
    attributes: tuple[str, ...] = ("solid wood",),
    query: str = "",
    product_category: str = "",
    description: str = "",
    bullets: tuple[str, ...] = (),
) -> Product:
    """A product; only what a test is about needs naming."""
    return Product(
        asin=asin,
        title=title,
        price=price,
        price_text=f"${price}",
        options=options or {},
        attributes=attributes,
        query=query,
        product_category=product_category,
        description=description,
        bullets=bullets,
    )


def goal(
    title: str = "Oak Chair",
    *,
    instruction: str = "i want an oak chair",
    attributes: tuple[str, ...] = ("solid wood",),
    options: tuple[str, ...] = (),
    price_upper: float = NO_CAP,
    query: str = "",
    product_category: str = "",
) -> Goal:
    """A goal; only what a test is about needs naming."""
    return Goal(
        asin="B0CHAIR",
        instruction=instruction,
        attributes=attributes,
        options=options,
        price_upper=price_upper,
        title=title,
        query=query,
        product_category=product_category,
    )


def session(*products: Product, results_a_page: int = 10) -> ShopSession:
    """A visit to a shop that sells ``products``."""
    catalogue = Catalogue(products)
    return ShopSession(catalogue, SearchIndex(item.document for item in products), results_a_page)
