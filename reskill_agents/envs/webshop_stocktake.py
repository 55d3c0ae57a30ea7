"""Everything a shop needs before it opens: products, goals and the goals of each split."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reskill_agents.environment import Split
from reskill_agents.envs.webshop_catalogue import Product
from reskill_agents.envs.webshop_generate import generate_shop
from reskill_agents.envs.webshop_goals import Goal, human_goals, made_goals, synthetic_goals, weigh
from reskill_agents.envs.webshop_load import load_folder
from reskill_agents.envs.webshop_nouns import head_noun
from reskill_agents.envs.webshop_splits import INDEX_SPLITS_FROM, SHUFFLE_SEED, split_by_index, split_by_type


@dataclass(frozen=True, slots=True)
class Stock:
    """Products in document order, goals, and the numbers of the goals of each split in task order.

    ``source``: where the data comes from, without machine paths. ``split_rule``: how the splits were made. ``adapt``:
    numbers of further goals, for test-time adaptation.
    """

    products: tuple[Product, ...]
    goals: tuple[Goal, ...]
    splits: Mapping[Split, Sequence[int]]
    source: str
    split_rule: str
    adapt: Sequence[int] = ()


def generated_stock(seed: int) -> Stock:
    """The generated catalogue; whole product types are held out for the unseen test.

    Goals to adapt on are spare ones for products that train goals are about: no test asks for those products.
    """
    shop = generate_shop(seed)
    splits = split_by_type([(goal.query, goal.asin) for goal in shop.goals], seed=seed)
    known = {shop.goals[number].asin for number in splits[Split.TRAIN]}
    adapt = [number for number, goal in enumerate(shop.spare, len(shop.goals)) if goal.asin in known]
    return Stock(shop.products, (*shop.goals, *shop.spare), splits, "generated", "type", adapt)


def official_stock(data: Path, *, products: int | None, seed: int) -> Stock:
    """A folder of official files.

    Human goals alone when there are enough of them for the original's splits by index; else human, synthetic and made
    ones together, which are split by index if they are enough, and by product type (head noun of the title) if not.
    """
    loaded = load_folder(data, products=products, seed=seed)
    rng = random.Random(f"goals/{seed}")
    goals = list(human_goals(loaded.human, loaded.products, rng))
    if len(goals) < INDEX_SPLITS_FROM:
        goals += synthetic_goals(loaded.products, rng)
        goals += made_goals(loaded.products, rng)
    goals = weigh(goals)
    source = "+".join(loaded.files)
    if len(goals) >= INDEX_SPLITS_FROM:
        return Stock(loaded.products, tuple(goals), split_by_index(len(goals)), source, "index")
    random.Random(SHUFFLE_SEED).shuffle(goals)
    splits = split_by_type([(head_noun(goal.title), goal.asin) for goal in goals])
    return Stock(loaded.products, tuple(goals), splits, source, "type")
