"""From the rewards of a group to advantages.

Default: leave-one-out over the pooled group (both arms of a trial together), no standard deviation and no
whitening. Unbiased for any assignment of arms that is fixed before sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class GroupRewards:
    """The train rewards of one group.

    Args:
        rewards: one per episode; ``None`` for a fault outside the agent, which is in no baseline (invariant 4).
        lengths: sampled tokens of each episode; only the paper's whitening reads them.
        arms: what each episode carried, by any name that stays the same over the steps; empty: all the same.
    """

    rewards: tuple[float | None, ...]
    lengths: tuple[int, ...] = ()
    arms: tuple[str, ...] = ()


class Advantage(Protocol):
    """Groups in, one advantage per episode out (``None`` where the reward is ``None``); higher is better."""

    def __call__(self, groups: Sequence[GroupRewards]) -> list[list[float | None]]:
        """Advantages in the shape of the rewards."""
        ...


def leave_one_out(groups: Sequence[GroupRewards]) -> list[list[float | None]]:
    """A_i = R_i - mean of the group's other rewards (RLOO); 0 in a group of one and without variance."""
    return [_leave_one_out(group.rewards) for group in groups]


def _leave_one_out(rewards: Sequence[float | None]) -> list[float | None]:
    known = [reward for reward in rewards if reward is not None]
    if len(known) < 2 or min(known) == max(known):
        return [None if reward is None else 0.0 for reward in rewards]
    total = math.fsum(known)
    others = len(known) - 1
    return [None if reward is None else reward - (total - reward) / others for reward in rewards]


def per_arm(groups: Sequence[GroupRewards]) -> list[list[float | None]]:
    """Leave-one-out inside each arm of a group, for ablations; 0 where an arm has one member.

    Arms that do not differ cost it 1.18 times the variance of the pooled baseline (method.md).
    """
    return [_per_arm(group) for group in groups]


def _per_arm(group: GroupRewards) -> list[float | None]:
    arms = group.arms or ("",) * len(group.rewards)
    advantages: list[float | None] = [None] * len(group.rewards)
    for arm in dict.fromkeys(arms):
        places = [place for place, name in enumerate(arms) if name == arm]
        found = _leave_one_out([group.rewards[place] for place in places])
        for place, advantage in zip(places, found, strict=True):
            advantages[place] = advantage
    return advantages


def group_normalised(groups: Sequence[GroupRewards], *, epsilon: float = 1e-6) -> list[list[float | None]]:
    """GRPO as in the paper: (R_i - mean) / (sample standard deviation + epsilon); 0 in a group of one."""
    return [_group_normalised(group.rewards, epsilon) for group in groups]


def _group_normalised(rewards: Sequence[float | None], epsilon: float) -> list[float | None]:
    known = [reward for reward in rewards if reward is not None]
    if len(known) < 2 or min(known) == max(known):
        return [None if reward is None else 0.0 for reward in rewards]
    mean = math.fsum(known) / len(known)
    deviation = math.sqrt(math.fsum((reward - mean) ** 2 for reward in known) / (len(known) - 1))
    return [None if reward is None else (reward - mean) / (deviation + epsilon) for reward in rewards]


def group_normalised_whitened(groups: Sequence[GroupRewards]) -> list[list[float | None]]:
    """The paper's default: :func:`group_normalised`, then whitening over all sampled tokens of the batch.

    Faithful to the official code, defect included: the batch mean is weighted by tokens, so an all-fail group gets an
    advantage of about +0.3 instead of 0 when failures are longer. Only method ``reskill-paper`` uses it.
    """
    normalised = group_normalised(groups)
    tokens: list[tuple[float, int]] = []
    for group, advantages in zip(groups, normalised, strict=True):
        lengths = group.lengths or (1,) * len(advantages)
        tokens += [(a, length) for a, length in zip(advantages, lengths, strict=True) if a is not None]
    count = sum(length for _, length in tokens)
    if count < 2:
        return normalised
    mean = math.fsum(a * length for a, length in tokens) / count
    variance = math.fsum((a - mean) ** 2 * length for a, length in tokens) / (count - 1)
    if variance == 0.0:
        return normalised
    scale = 1.0 / math.sqrt(variance + 1e-8)
    return [[None if a is None else (a - mean) * scale for a in advantages] for advantages in normalised]
