"""The shop's state machine: which page is open, what is chosen, what a click does. No text is made here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from reskill_agents.envs.webshop_catalogue import Catalogue, Product
from reskill_agents.envs.webshop_search import SearchIndex


class Page(StrEnum):
    """The pages of the shop."""

    START = "start"
    RESULTS = "results"
    ITEM = "item"
    DESCRIPTION = "description"
    FEATURES = "features"
    REVIEWS = "reviews"
    DONE = "done"


BACK_TO_SEARCH = "back to search"
PREVIOUS = "< prev"
NEXT = "next >"
BUY_NOW = "buy now"
SUB_PAGES = (Page.DESCRIPTION, Page.FEATURES, Page.REVIEWS)
RESULTS_A_PAGE = 10


@dataclass
class ShopSession:
    """One shopper's visit.

    Args:
        catalogue, index: the shop; documents of the index are the catalogue's products in order.
        results_a_page: 10 in the original.
    """

    catalogue: Catalogue
    index: SearchIndex
    results_a_page: int = RESULTS_A_PAGE
    page: Page = Page.START
    query: str = ""
    hits: tuple[int, ...] = ()
    page_number: int = 1
    product: Product | None = None
    chosen: dict[str, str] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)

    def results(self) -> tuple[Product, ...]:
        """The products on the open results page; empty past the last one."""
        start = (self.page_number - 1) * self.results_a_page
        return tuple(self.catalogue.products[hit] for hit in self.hits[start : start + self.results_a_page])

    def buttons(self) -> tuple[str, ...]:
        """The buttons of the open page, in the order shown."""
        if self.page is Page.START or self.page is Page.DONE:
            return ()
        if self.page is Page.RESULTS:
            return (BACK_TO_SEARCH, *((PREVIOUS,) if self.page_number > 1 else ()), NEXT)
        if self.page is Page.ITEM:
            return (BACK_TO_SEARCH, PREVIOUS, *(page.value for page in SUB_PAGES), BUY_NOW)
        return (BACK_TO_SEARCH, PREVIOUS)

    def search(self, query: str) -> None:
        """Open the first results page; chosen options are dropped."""
        self.query = query
        self.hits = self.index.search(query)
        self.page, self.page_number, self.product = Page.RESULTS, 1, None
        self.chosen.clear()

    def click(self, target: str) -> bool:
        """Click a button, product or option value (lower case); False if the page has no such thing."""
        if target in self.buttons():
            self._press(target)
            return True
        if self.page is Page.RESULTS:
            return self._open(target)
        if self.page is Page.ITEM and self.product is not None:
            return self._choose(target, self.product)
        return False

    def _press(self, button: str) -> None:
        if button == BACK_TO_SEARCH:
            self.page, self.product = Page.START, None
            self.chosen.clear()
            self.visited.clear()
        elif button == BUY_NOW:
            self.page = Page.DONE
        elif button == NEXT:
            self.page_number += 1
        elif button == PREVIOUS and self.page is Page.RESULTS:
            self.page_number -= 1
        elif button == PREVIOUS and self.page is Page.ITEM:
            self.page, self.product = Page.RESULTS, None
            self.chosen.clear()
        elif button == PREVIOUS:
            self.page = Page.ITEM
        else:
            self.page = Page(button)

    def _open(self, asin: str) -> bool:
        product = self.catalogue.get(asin)
        if product is None or product not in self.results():
            return False
        self.page, self.product = Page.ITEM, product
        self.visited.add(product.asin)
        return True

    def _choose(self, value: str, product: Product) -> bool:
        groups = [group for group, values in product.options.items() if value in values]
        for group in groups[-1:]:  # a value in two groups counts for the last, as in the original's lookup
            self.chosen[group] = value
        return bool(groups)
