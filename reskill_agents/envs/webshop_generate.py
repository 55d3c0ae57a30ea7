"""A shop of our own: products in families whose members differ in exactly one thing that a request asks for.

Success must need several right things at once, so each family holds a wanted product, a dearer twin, and look-alikes
that miss one attribute and often rank first because their texts repeat the words that they do have.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from reskill_agents.envs.webshop_catalogue import Product
from reskill_agents.envs.webshop_goals import Goal, GoalSource, goal_for, option_text, price_cap
from reskill_agents.envs.webshop_reward import has_attribute
from reskill_agents.envs.webshop_stock import BRANDS, DEPARTMENTS, OPTION_VALUES, Department, ProductType

FAMILIES = 14  # of each product type
TWIN_LOUDNESS = (1, 2)  # how often the texts of rivals repeat their words
LOUDNESS = ((0, 6), (0, 4), (0,), (0,))  # of each look-alike
WANTED_LOUDNESS = (0, 1)
TWINS = 1  # of each family, dearer
GOALS_A_FAMILY = 4
VALUES = (2, 3)  # values offered in an option group
_REQUESTS = (
    "find me {attributes} {name}",
    "i am looking for {attributes} {name}",
    "i need {attributes} {name}",
    "i want {name} that is {attributes}",
)
_ASIN = "BCDFGHJKLMNPQRSTVWXYZ0123456789"


@dataclass(frozen=True, slots=True)
class GeneratedShop:
    """The products in document order and the goals in a shuffled order; ``spare``: further ones, no two alike."""

    products: tuple[Product, ...]
    goals: tuple[Goal, ...]
    spare: tuple[Goal, ...] = ()


@dataclass(frozen=True, slots=True)
class _Family:
    department: Department
    kind: ProductType
    attributes: tuple[str, ...]  # the first two are the ones that goals ask for
    options: dict[str, tuple[str, ...]]
    price: float
    asked: frozenset[frozenset[str]]  # the pairs that goals of this product type ask for


def generate_shop(seed: int) -> GeneratedShop:
    """The shop of this seed; the same seed gives the same shop everywhere."""
    rng = random.Random(f"shop/{seed}")
    products: list[Product] = []
    goals: list[Goal] = []
    spare: list[Goal] = []
    later = random.Random(f"shop/{seed}/spare")  # of its own: the shop is the same with and without spare goals
    taken: set[str] = set()
    for department in DEPARTMENTS:
        for kind in department.types:
            of_type: list[Product] = []
            wanted: list[tuple[Product, _Family]] = []
            for family in _families(department, kind, rng):
                members = _members(family, rng, taken)
                wanted.append((members[0], family))
                of_type.extend(members)
            products.extend(of_type)
            for product, family in wanted:
                asked = _goals(product, family, of_type, rng)
                goals.extend(asked)
                known = {goal.options for goal in asked}
                spare.extend(g for g in _goals(product, family, of_type, later) if g.options not in known)
    rng.shuffle(products)
    rng.shuffle(goals)
    later.shuffle(spare)
    return GeneratedShop(tuple(products), tuple(goals), tuple(spare))


def _families(department: Department, kind: ProductType, rng: random.Random) -> list[_Family]:
    """Families of a type. No two ask for the same pair of attributes, and none holds a pair another asks for."""
    pairs = [frozenset(pair) for pair in itertools.combinations(department.attributes, 2)]
    asked = rng.sample(pairs, FAMILIES)
    families = []
    for pair in asked:
        wanted = sorted(pair)
        rng.shuffle(wanted)
        third = _companion(wanted, department, asked, rng)
        options = {group: _values(group, rng) for group in kind.groups}
        price = kind.price * rng.uniform(0.7, 1.4)
        families.append(_Family(department, kind, (*wanted, third), options, price, frozenset(asked)))
    return families


def _companion(
    attributes: Sequence[str], department: Department, asked: Collection[frozenset[str]], rng: random.Random
) -> str:
    """An attribute that makes no pair with ``attributes`` that some family asks for (any other one if all do)."""
    spare = [phrase for phrase in department.attributes if phrase not in attributes]
    quiet = [phrase for phrase in spare if not any(frozenset((phrase, other)) in asked for other in attributes)]
    return rng.choice(quiet or spare)


def _values(group: str, rng: random.Random) -> tuple[str, ...]:
    pool = OPTION_VALUES[group]
    return tuple(rng.sample(pool, min(rng.choice(VALUES), len(pool))))


def _members(family: _Family, rng: random.Random, taken: set[str]) -> list[Product]:
    """The wanted product first, then its dearer twins and look-alikes."""
    price = family.price
    members = [_product(family, family.attributes, price, rng.choice(WANTED_LOUDNESS), rng, taken)]
    for _ in range(TWINS):
        dearer = price * rng.uniform(2.2, 3.5) + 45
        members.append(_product(family, family.attributes, dearer, rng.choice(TWIN_LOUDNESS), rng, taken))
    for number, loudness in enumerate(LOUDNESS):
        kept = tuple(phrase for phrase in family.attributes if phrase != family.attributes[number % 2])
        spare = _companion((*kept, *family.attributes[:2]), family.department, family.asked, rng)
        cheaper = price * rng.uniform(0.6, 1.0)
        members.append(_product(family, (*kept, spare), cheaper, rng.choice(loudness), rng, taken))
    return members


def _product(
    family: _Family, attributes: Sequence[str], price: float, loudness: int, rng: random.Random, taken: set[str]
) -> Product:
    """One product; ``loudness`` says how often its texts repeat its type and attributes (and so how high it ranks)."""
    asin = ""
    while not asin or asin in taken:
        asin = "B0" + "".join(rng.choice(_ASIN) for _ in range(8))
    taken.add(asin)
    listed = list(attributes)
    rng.shuffle(listed)
    name = family.kind.name
    title = f"{rng.choice(BRANDS)} {name.title()}, {', '.join(phrase.title() for phrase in listed)}"
    bullet = (
        " ".join(f"{name}: {', '.join(listed)}." for _ in range(loudness - 1)) or f"Made for every day by {title[:7]}."
    )
    cents = round(price) - 0.01
    return Product(
        asin=asin,
        title=title,
        price=cents,
        price_text=f"${cents}",
        options=family.options,
        attributes=tuple(attributes),
        category=family.department.name,
        query=name,
        product_category=f"{family.department.name} › {name}",
        description=f"A {name} that is {' and '.join(listed)}." if loudness else f"A {name} for daily use.",
        bullets=(bullet, f"Comes in {len(family.options)} kinds of options."),
        instruction=f"find me {' '.join(attributes[:2])} {name}",
        instruction_attributes=tuple(attributes[:2]),
    )


def _goals(product: Product, family: _Family, of_type: Sequence[Product], rng: random.Random) -> list[Goal]:
    """Goals for ``product``: two attributes, a value of every option group, a price cap below its dearer twins."""
    asked = family.attributes[:2]
    rivals = [other for other in of_type if all(has_attribute(other, phrase) for phrase in asked)]
    goals: list[Goal] = []
    seen: set[tuple[str, ...]] = set()
    for _ in range(GOALS_A_FAMILY):
        chosen = {group: rng.choice(values) for group, values in sorted(product.options.items())}
        cap = price_cap(product.price, rng)
        values = tuple(chosen.values())
        affordable = [other for other in rivals if other.price <= cap]
        fair = all(
            set(values) <= {value for group in other.options.values() for value in group} for other in affordable
        )
        if values in seen or not fair:
            continue
        seen.add(values)
        phrases = list(asked)
        rng.shuffle(phrases)
        request = rng.choice(_REQUESTS).format(attributes=" ".join(phrases), name=family.kind.name)
        request += option_text(chosen.items())
        goals.append(goal_for(product, request, asked, values, cap, GoalSource.GENERATED))
    return goals
