"""Which goals are for training and which for which test."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from reskill_agents.environment import Split
from reskill_agents.errors import ConfigError

SHUFFLE_SEED = 233  # the original's
INDEX_SPLITS_FROM = 2_000  # goals
MIN_GOALS = 40  # of every split made by type
UNSEEN_SHARE = 0.2  # of the types
SHARES = ((Split.TRAIN, 0.6), (Split.VALID, 0.8), (Split.SEEN_TEST, 1.0))  # of the other products, cumulative


def split_by_index(count: int) -> dict[Split, list[int]]:
    """The original's splits of a shuffled list: 0-499 test, 500-1499 validation, the rest train; nothing unseen."""
    order = list(range(count))
    random.Random(SHUFFLE_SEED).shuffle(order)
    return {
        Split.SEEN_TEST: order[:500],
        Split.VALID: order[500:1500],
        Split.TRAIN: order[1500:],
        Split.UNSEEN_TEST: [],
    }


def split_by_type(keys: Sequence[tuple[str, str]], *, seed: int = SHUFFLE_SEED) -> dict[Split, list[int]]:
    """Hold out whole types, then whole products.

    Args:
        keys: (product type, product) of each goal, in the order in which the goals shall stand.
        seed: draws the types and the products.

    Raises:
        ConfigError: a split has fewer than :data:`MIN_GOALS` goals.
    """
    rng = random.Random(f"splits/{seed}")
    types = sorted({kind for kind, _ in keys})
    unseen = set(rng.sample(types, round(UNSEEN_SHARE * len(types))))
    products = sorted({product for kind, product in keys if kind not in unseen})
    rng.shuffle(products)
    split_of: dict[str, Split] = {}
    for number, product in enumerate(products):
        split_of[product] = next(split for split, share in SHARES if number < share * len(products))
    splits: dict[Split, list[int]] = {split: [] for split in Split}
    for index, (kind, product) in enumerate(keys):
        splits[Split.UNSEEN_TEST if kind in unseen else split_of[product]].append(index)
    _check(splits)
    return splits


def _check(splits: Mapping[Split, Sequence[int]]) -> None:
    counts = {split.value: len(goals) for split, goals in splits.items()}
    if min(counts.values()) < MIN_GOALS:
        raise ConfigError(
            f"every split needs at least {MIN_GOALS} goals, but this data gives {counts}: add goals or products"
        )
