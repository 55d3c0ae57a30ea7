"""The shop's pages as the original shows them: ``text`` and ``text_rich``.

A page is a list of parts. ``text`` joins them with `` [SEP] ``; ``text_rich`` gives each a line, buttons and links in
``[button] ... [button_]``, chosen options and visited products in ``[clicked button] ... [clicked button_]``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from reskill_agents.environment import Choice, Observation
from reskill_agents.envs.webshop_catalogue import Product
from reskill_agents.envs.webshop_goals import Goal
from reskill_agents.envs.webshop_session import Page, ShopSession

NO_RATING = "N.A."  # the public runs of the original carry no ratings and no reviews
_BUTTON_NAMES = {"< prev": "< Prev", "next >": "Next >"}


class PartKind(StrEnum):
    """What a part of a page is."""

    TEXT = "text"
    BUTTON = "button"
    ITEM = "item"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a page; ``clicked``: a chosen option or a visited product."""

    text: str
    kind: PartKind = PartKind.TEXT
    clicked: bool = False


class PageView:
    """Shows one goal's visit in the original's wording.

    Args:
        goal: the request.
        rich: ``text_rich`` instead of ``text``.
    """

    def __init__(self, goal: Goal, *, rich: bool) -> None:
        self._goal = goal
        self._rich = rich

    def show(self, session: ShopSession, score: float) -> Observation:
        """The open page with its admissible actions: buttons and links, then option values."""
        parts = tuple(self._parts(session, score))
        text = rich_text(parts) if self._rich else plain_text(parts)
        return Observation(text, tuple(self._choices(session, parts)), self._goal.instruction)

    def _choices(self, session: ShopSession, parts: tuple[Part, ...]) -> Iterator[Choice]:
        if session.page is Page.START:
            yield Choice(f"search[{self._goal.instruction}]", kind="search")
            return
        groups = session.product.options if session.product and session.page is Page.ITEM else {}
        group_of = {value: group for group, values in groups.items() for value in values}
        seen: set[str] = set()  # an option may be called like a button: one action, the button's
        for kind in (PartKind.BUTTON, PartKind.ITEM, PartKind.OPTION):
            for text in (part.text.lower() for part in parts if part.kind is kind):
                if text not in seen and _nameable(text):
                    seen.add(text)
                    yield Choice(f"click[{text}]", text, kind.value, group_of.get(text, ""))

    def _parts(self, session: ShopSession, score: float) -> Iterator[Part]:
        if session.page is Page.START:
            yield from (Part("WebShop"), Part("Instruction: "), Part(self._goal.instruction))
            yield Part("Search", PartKind.BUTTON)
            return
        if session.page is Page.DONE:
            yield from (Part("Thank you for shopping with us!"), Part("Your score (min 0.0, max 1.0)"))
            yield Part(str(score))
            return
        yield from (Part("Instruction:"), Part(self._goal.instruction))
        if session.page is Page.RESULTS:
            yield from self._results(session)
        elif session.product is not None:
            yield from (_button("back to search"), _button("< prev"))
            yield from _item(session, session.product) if session.page is Page.ITEM else _details(session)

    def _results(self, session: ShopSession) -> Iterator[Part]:
        first, *rest = session.buttons()
        yield _button(first)
        yield Part(f"Page {session.page_number} (Total results: {len(session.hits)})")
        yield from map(_button, rest)
        for product in session.results():
            yield Part(product.asin, PartKind.ITEM, product.asin in session.visited)
            yield Part(product.title)
            yield Part(product.price_text)


def _item(session: ShopSession, product: Product) -> Iterator[Part]:
    address = session.query.replace(" ", "+") + json.dumps(session.chosen)  # the original looks for values in its URL
    for group, values in product.options.items():
        yield Part(group)
        for value in values:
            yield Part(value, PartKind.OPTION, bool(session.chosen) and f'"{value}"' in address)
    yield from (Part(product.title), Part(f"Price: {product.price_text}"), Part(f"Rating: {NO_RATING}"))
    yield from map(_button, ("description", "features", "reviews", "buy now"))


def _details(session: ShopSession) -> Iterator[Part]:
    product = session.product
    if product is not None and session.page is Page.DESCRIPTION and product.description:
        yield Part(product.description)
    elif product is not None and session.page is Page.FEATURES:
        yield from (Part(f" {bullet}") for bullet in product.bullets)


def _button(name: str) -> Part:
    return Part(_BUTTON_NAMES.get(name) or " ".join(_capital(word) for word in name.split()), PartKind.BUTTON)


def _capital(word: str) -> str:
    return word if word == "to" else word.capitalize()


def plain_text(parts: tuple[Part, ...]) -> str:
    """The original's ``text`` mode."""
    return " [SEP] ".join(part.text.strip() for part in parts)


def rich_text(parts: tuple[Part, ...]) -> str:
    """The original's ``text_rich`` mode."""
    lines = []
    clicked_options = []
    for part in parts:
        tag = "clicked button" if part.clicked else "button"
        if part.kind is PartKind.TEXT:
            lines.append(part.text)
        elif part.kind is PartKind.BUTTON:
            lines.append(f"[button] {part.text} [button_]")
        elif part.kind is PartKind.OPTION:
            lines.append(f"  [{tag}] {part.text} [{tag}_]")
            if part.clicked:
                clicked_options.append(part.text)
        else:
            lines.append(f"\n[{tag}] {part.text} [{tag}_]")
    lines[:0] = [f"You have clicked {value}." for value in reversed(clicked_options)]
    return "\n".join(lines) + "\n"


def _nameable(text: str) -> bool:
    """Whether the original's action pattern can name it."""
    return bool(text.strip()) and "[" not in text and "\n" not in text
