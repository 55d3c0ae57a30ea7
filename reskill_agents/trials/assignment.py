"""Which rollouts of a group get the candidate: a blocked draw, made before sampling."""

from __future__ import annotations

import hashlib
from typing import Protocol

from reskill_agents.errors import TrialError
from reskill_agents.trials.arm import Arm

MIN_PER_ARM = 2  # invariant 3: with one member of an arm a group has no contrast once an outcome goes missing
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Uniform(Protocol):
    """A source of uniform numbers in [0, 1); ``random.Random`` is one."""

    def random(self) -> float:
        """The next number."""
        ...


class SplitMix:
    """SplitMix64 (Steele, Lea and Flood 2014): one integer of state, 53 bits a number."""

    __slots__ = ("_state",)

    def __init__(self, state: int) -> None:
        self._state = state & _MASK

    def random(self) -> float:
        """The next number in [0, 1)."""
        self._state = z = (self._state + _GOLDEN) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53


class AssignmentStream:
    """Counter-based randomness: draw number ``n`` depends on the key and ``n`` only, so its state is one integer."""

    def __init__(self, key: str, counter: int = 0) -> None:
        self._key = hashlib.sha256(key.encode())
        self.counter = counter

    def next(self) -> SplitMix:
        """The numbers of the next draw."""
        digest = self._key.copy()
        digest.update(self.counter.to_bytes(8, "big"))
        self.counter += 1
        return SplitMix(int.from_bytes(digest.digest()[:8], "big"))


def bounds(group_size: int) -> tuple[int, int]:
    """Fewest and most candidate rollouts in a group: two of each arm from four rollouts on, one of each below.

    Raises:
        TrialError: for an empty group.
    """
    if group_size < 1:
        raise TrialError(f"a group has at least one rollout, got {group_size}")
    least = MIN_PER_ARM if group_size >= 2 * MIN_PER_ARM else group_size // 2
    return least, group_size - least


def chosen_places(size: int, count: int, rng: Uniform) -> list[int]:
    """``count`` of ``range(size)`` without replacement, every set equally likely (Fisher and Yates)."""
    places = list(range(size))
    for index in range(count):
        other = index + int(rng.random() * (size - index))
        places[index], places[other] = places[other], places[index]
    return places[:count]


def round_up_or_down(amount: float, rng: Uniform) -> int:
    """``amount`` rounded at random without bias."""
    whole = int(amount)
    return whole + (rng.random() < amount - whole)


def blocked_arms(group_size: int, candidates: int, rng: Uniform) -> list[Arm]:
    """``candidates`` of ``group_size`` rollouts get the candidate, at random places."""
    arms = [Arm.INCUMBENT] * group_size
    for place in chosen_places(group_size, candidates, rng):
        arms[place] = Arm.CANDIDATE
    return arms


def round_share(group_size: int, share: float, rng: Uniform) -> int:
    """``group_size * share`` rounded at random without bias, inside :func:`bounds`."""
    low, high = bounds(group_size)
    if low == high:
        return low
    return min(max(round_up_or_down(group_size * share, rng), low), high)
