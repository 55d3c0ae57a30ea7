"""The original's reward for a purchase: type times the share of attributes, options and price that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz, utils

from reskill_agents.envs.webshop_catalogue import Product
from reskill_agents.envs.webshop_goals import Goal
from reskill_agents.envs.webshop_nouns import nouns

MATCH_ABOVE = 85  # of 100, token-set ratio
COLOURS = tuple(
    """alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel
    camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry
    cream crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green
    grey heather indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot
    midnight mint mocha multicolor mushroom mustard natural navy nude olive orange peach pewter pink plum purple
    rainbow red rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan
    taupe teal tiger turquoise violet walnut wheat white wine yellow""".split()
)

_LATIN_1 = dict.fromkeys(range(128, 256))
NounFinder = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class PurchaseGrade:
    """What a purchase earned, part by part; ``score`` in 0..1, higher is better."""

    score: float
    type_factor: float
    attributes_matched: int
    options_matched: int
    price_ok: bool


@lru_cache(maxsize=200_000)
def token_set_ratio(left: str, right: str) -> int:
    """thefuzz's ``token_set_ratio``: full processing first, an integer 0..100 out; nothing left of a side: 0."""
    return round(fuzz.token_set_ratio(_processed(left), _processed(right)))


def _processed(text: str) -> str:
    """thefuzz's full processing: Latin-1 letters dropped, everything but letters and digits blank, lower case."""
    return utils.default_process(text.translate(_LATIN_1))


@lru_cache(maxsize=100_000)
def normal_colour(value: str) -> str:
    """The first known colour inside ``value`` (any substring counts, as in the original), else ``value``."""
    return next((colour for colour in COLOURS if colour in value), value)


class Grader:
    """Grades purchases.

    Args:
        strict_original: an empty query or category equals another empty one, as in the original; by default empty
            means unknown and never matches (webshop.md).
        find_nouns: the noun finder for titles; repeats kept.
    """

    def __init__(self, *, strict_original: bool = False, find_nouns: NounFinder = nouns) -> None:
        self._strict = strict_original
        self._nouns = find_nouns

    def grade(self, product: Product, chosen: Iterable[str], goal: Goal) -> PurchaseGrade:
        """Grade buying ``product`` with the option values ``chosen`` for ``goal``."""
        factor = self.type_factor(product, goal)
        attributes = sum(has_attribute(product, wanted) for wanted in goal.attributes)
        options = matched_options(tuple(chosen), goal.options)
        price_ok = product.price <= goal.price_upper
        parts = len(goal.attributes) + len(goal.options) + 1
        return PurchaseGrade(factor * (attributes + options + price_ok) / parts, factor, attributes, options, price_ok)

    def type_factor(self, product: Product, goal: Goal) -> float:
        """1, 0.5, 0.1 or 0: how much the bought product is of the wanted type."""
        known = self._strict or bool(product.query and goal.query)
        same_query = known and product.query == goal.query
        wanted = self._nouns(goal.title)
        shared = len(set(self._nouns(product.title)) & set(wanted))
        overlap = shared / len(wanted) if wanted else 0.2
        if overlap == 0:
            return 0.0
        if overlap < 0.1:
            return 0.1
        same_category = len(self._levels(product.product_category) & self._levels(goal.product_category)) >= 2
        return 1.0 if same_query or same_category or overlap > 0.2 else 0.5

    def _levels(self, path: str) -> set[str]:
        levels = {level.strip() for level in path.split("›")}
        return levels if self._strict else levels - {""}


@lru_cache(maxsize=200_000)
def _attribute_listed(attributes: tuple[str, ...], wanted: str) -> bool:
    return any(token_set_ratio(attribute, wanted) > MATCH_ABOVE for attribute in attributes)


def has_attribute(product: Product, wanted: str) -> bool:
    """Whether the product lists the attribute (fuzzily) or its text holds it (exactly)."""
    if _attribute_listed(product.attributes, wanted):
        return True
    texts = (product.title, " ".join(product.bullets), product.description)
    return any(wanted in text.lower() for text in texts)


def matched_options(chosen: Sequence[str], wanted: Sequence[str]) -> int:
    """How many of the ``wanted`` values are among the ``chosen`` ones, colours normalised on both sides."""
    have = [normal_colour(value) for value in chosen]
    return sum(any(token_set_ratio(value, normal_colour(goal)) > MATCH_ABOVE for value in have) for goal in wanted)
