"""Which rollouts of a group get the candidate: a blocked draw, made before sampling."""

from __future__ import annotations

import hashlib
from random import Random

from reskill_agents.errors import TrialError
from reskill_agents.trials.arm import Arm

MIN_PER_ARM = 2  # invariant 3: with one member of an arm a group has no contrast once an outcome goes missing


def bounds(group_size: int) -> tuple[int, int]:
    """Fewest and most candidate rollouts in a group: two of each arm from four rollouts on, one of each below.

    Raises:
        TrialError: for an empty group.
    """
    if group_size < 1:
        raise TrialError(f"a group has at least one rollout, got {group_size}")
    least = MIN_PER_ARM if group_size >= 2 * MIN_PER_ARM else group_size // 2
    return least, group_size - least


def blocked_arms(group_size: int, candidates: int, rng: Random) -> list[Arm]:
    """``candidates`` of ``group_size`` rollouts get the candidate, at positions drawn without replacement."""
    arms = [Arm.INCUMBENT] * group_size
    for position in rng.sample(range(group_size), candidates):
        arms[position] = Arm.CANDIDATE
    return arms


def round_share(group_size: int, share: float, rng: Random) -> int:
    """``group_size * share`` rounded at random without bias, inside :func:`bounds`."""
    low, high = bounds(group_size)
    if low == high:
        return low
    whole = group_size * share
    count = int(whole) + (rng.random() < whole - int(whole))
    return min(max(count, low), high)


class AssignmentStream:
    """Counter-based randomness: draw number ``n`` depends on the key and ``n`` only, so its state is one integer."""

    def __init__(self, key: str, counter: int = 0) -> None:
        self._base = int.from_bytes(hashlib.sha256(key.encode()).digest()[:12], "big") << 32
        self._rng = Random(0)  # reseeded for every draw
        self.counter = counter

    def next(self) -> Random:
        """The generator of the next draw."""
        self._rng.seed(self._base + self.counter)
        self.counter += 1
        return self._rng
