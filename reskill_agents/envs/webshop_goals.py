"""What shoppers are asked for: crowd-written requests, the original's synthetic ones, and ones made from products."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from reskill_agents.directives import content_words
from reskill_agents.envs.webshop_catalogue import DUMMY_ATTRIBUTE, Product
from reskill_agents.envs.webshop_load import HumanInstruction
from reskill_agents.envs.webshop_nouns import head_phrase

NO_CAP = 1_000_000.0  # the original's price cap when there is none
PRICE_STEPS = tuple(10.0 * step for step in range(1, 100))  # 10, 20, ... 990 dollars
MADE_A_PRODUCT = 6  # option combinations asked for of one real product
MADE_ATTRIBUTES = 2


class GoalSource(StrEnum):
    """Who wrote a goal; the value of the ``goals`` tag of its task."""

    HUMAN = "human"
    MADE = "made"
    GENERATED = "generated"


@dataclass(frozen=True, slots=True)
class Goal:
    """One shopping request and what counts as fulfilling it.

    Args:
        asin: the product it was made from.
        instruction: the request, price text included.
        attributes: phrases that the bought product must have; never empty.
        options: option values that must be chosen.
        price_upper: dollars; :data:`NO_CAP`: no cap.
        title, query, product_category: of the wanted product; they say what type is wanted.
        source: who wrote it.
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
    source: GoalSource = GoalSource.MADE
    weight: float = 1.0


def goal_for(
    product: Product,
    request: str,
    attributes: Sequence[str],
    options: Sequence[str],
    cap: float,
    source: GoalSource,
) -> Goal:
    """A goal about ``product``; the price text is added to ``request``."""
    return Goal(
        asin=product.asin,
        instruction=request + price_text(cap),
        attributes=tuple(attributes),
        options=tuple(options),
        price_upper=cap,
        title=product.title,
        query=product.query,
        product_category=product.product_category,
        source=source,
    )


def price_cap(price: float, rng: random.Random) -> float:
    """The original's cap: of two of the first four steps above ``price`` the larger; :data:`NO_CAP` if none."""
    above = [step for step in PRICE_STEPS if step > price][:4]
    return max(rng.sample(above, 2)) if len(above) >= 2 else NO_CAP


def price_text(cap: float) -> str:
    """How the instruction says the cap."""
    return "" if cap >= NO_CAP else f", and price lower than {cap:.2f} dollars"


def option_text(chosen: Iterable[tuple[str, str]]) -> str:
    """How a synthetic instruction says its options: `` with color: red, and size: xl``; empty without options."""
    wish = ", and ".join(f"{group}: {value}" for group, value in chosen)
    return f" with {wish}" if wish else ""


def human_goals(
    instructions: Iterable[HumanInstruction], products: Sequence[Product], rng: random.Random
) -> Iterator[Goal]:
    """Goals of the crowd-written instructions, in order; those without attributes are skipped, as in the original."""
    by_asin = {product.asin: product for product in products}
    for written in instructions:
        product = by_asin.get(written.asin)
        if product is None or not written.attributes:
            continue
        if written.price_known:
            cap = NO_CAP if written.price_upper is None else written.price_upper
        else:
            cap = price_cap(product.price, rng)
        request = written.instruction.strip(".")
        yield goal_for(product, request, written.attributes, written.options, cap, GoalSource.HUMAN)


def synthetic_goals(products: Iterable[Product], rng: random.Random) -> Iterator[Goal]:
    """The original's synthetic goals: each product with an instruction, over all its options in sorted group order."""
    for product in products:
        if not product.instruction or not product.instruction_attributes:
            continue
        cap = price_cap(product.price, rng)
        groups = sorted(product.options)
        for values in itertools.product(*(product.options[group] for group in groups)):
            request = product.instruction + option_text(zip(groups, values, strict=True))
            yield goal_for(product, request, product.instruction_attributes, values, cap, GoalSource.MADE)


def made_goals(products: Iterable[Product], rng: random.Random) -> Iterator[Goal]:
    """Goals of our own for real products that have options and attributes but no official instruction.

    Each asks for the kind of product its title names, up to two attributes, and one value of every option group that
    words can tell from its neighbours; at most :data:`MADE_A_PRODUCT` a product.
    """
    for product in products:
        known = [phrase for phrase in product.attributes if phrase != DUMMY_ATTRIBUTE]
        groups = {group: _telling(product.options[group]) for group in sorted(product.options)}
        if product.instruction or not known or not groups or not all(groups.values()):
            continue
        combinations = list(itertools.islice(itertools.product(*groups.values()), 10_000))
        for values in rng.sample(combinations, min(MADE_A_PRODUCT, len(combinations))):
            asked = rng.sample(known, min(MADE_ATTRIBUTES, len(known)))
            request = f"find me {' '.join(asked)} {head_phrase(product.title)}"
            request += option_text(zip(groups, values, strict=True))
            yield goal_for(product, request, asked, values, price_cap(product.price, rng), GoalSource.MADE)


def _telling(values: Sequence[str]) -> list[str]:
    """The values whose content words no other value of the group has exactly."""
    counts = Counter(content_words(value) for value in values)
    return [value for value in dict.fromkeys(values) if content_words(value) and counts[content_words(value)] == 1]


def weigh(goals: Sequence[Goal]) -> list[Goal]:
    """The goals with the original's weights: 1 for human ones, else the mean of 1 / how often an attribute is asked."""
    counts = Counter(phrase for goal in goals if goal.source is not GoalSource.HUMAN for phrase in goal.attributes)
    return [
        goal
        if goal.source is GoalSource.HUMAN
        else replace(goal, weight=sum(1 / counts[phrase] for phrase in goal.attributes) / len(goal.attributes))
        for goal in goals
    ]
