"""Simulated training for the selection benchmark: tasks, a drifting policy, and what a candidate library does to it.

Nothing here knows how a trial decides. A step has ``groups`` fresh tasks; task i has difficulty
``b_i ~ N(base + drift, spread^2)`` on the logit scale. A rollout with the incumbent meets a condition with
probability ``sigmoid(b_i)``, one with the candidate with ``sigmoid(b_i + effect(step))``. Binary outcomes have one
condition. Graded outcomes have four: score = share met, success = all met, outcome = (score + success) / 2, as the
trainer's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from reskill_agents.trials import Arm

HORIZON = 5  # steps after the verdict over which the truth is averaged
CONDITIONS = 4


FloatArray = NDArray[Any]


class Drift(StrEnum):
    """How the policy changes over steps (logit a step, and sd of its random part)."""

    NONE = "none"
    SLOW = "slow"
    FAST = "fast"


class Shape(StrEnum):
    """How the effect changes over steps."""

    CONSTANT = "constant"
    FADING = "fading"
    REVERSING = "reversing"


_DRIFT = {Drift.NONE: (0.0, 0.0), Drift.SLOW: (0.05, 0.1), Drift.FAST: (0.25, 0.3)}


@dataclass(frozen=True, slots=True)
class World:
    """One cell of the benchmark.

    Args:
        effect: of the candidate at the start of the trial, in logits.
        spread: standard deviation of task difficulty, in logits.
        base: mean difficulty at the first step, in logits; graded outcomes use it per condition.
        missing: share of outcomes lost per arm (incumbent, candidate), whatever they were.
        lost_failures: share of the candidate's outcomes below 1 that are lost on top of that.
    """

    effect: float = 0.0
    spread: float = 3.0
    drift: Drift = Drift.SLOW
    shape: Shape = Shape.CONSTANT
    group_size: int = 8
    graded: bool = False
    groups: int = 16
    base: float = -0.5
    missing: tuple[float, float] = (0.0, 0.0)
    lost_failures: float = 0.0

    def effect_at(self, step: int) -> float:
        """The candidate's effect in logits at 0-based ``step``: halved every 4 steps, or reversed by step 10."""
        match self.shape:
            case Shape.CONSTANT:
                return self.effect
            case Shape.FADING:
                return self.effect * 0.5 ** (step / 4.0)
            case Shape.REVERSING:
                return self.effect * max(1.0 - step / 5.0, -1.0)

    def truth(self, verdict_step: int) -> float:
        """Mean effect over the steps after a verdict that came after ``verdict_step`` steps."""
        return sum(self.effect_at(verdict_step + k) for k in range(HORIZON)) / HORIZON


class Policy:
    """The policy and its tasks over the steps of one run (one or more trials)."""

    def __init__(self, world: World, rng: Generator) -> None:
        self.world = world
        self._rng = rng
        self._level = world.base
        self.step_in_trial = 0

    def start_trial(self) -> None:
        """A new candidate: its effect starts afresh. The policy starts at its base again, so that trials are alike."""
        self._level = self.world.base
        self.step_in_trial = 0

    def play(self, arms: Sequence[Sequence[Arm]]) -> Played:
        """Play one step; ``arms`` holds the arms of each group's rollouts."""
        world, rng = self.world, self._rng
        if self.step_in_trial:
            mean, sd = _DRIFT[world.drift]
            self._level += mean + (sd * float(rng.standard_normal()) if sd else 0.0)
        effect = world.effect_at(self.step_in_trial)
        self.step_in_trial += 1
        sizes = [len(group) for group in arms]
        is_new = np.array([arm is Arm.CANDIDATE for group in arms for arm in group])
        tasks = np.repeat(self._level + world.spread * rng.standard_normal(len(arms)), sizes)
        conditions = CONDITIONS if world.graded else 1
        old, new = (1.0 / (1.0 + np.exp(-tasks - shift)) for shift in (0.0, effect))
        chance = np.where(is_new, new, old)
        met = (rng.random((len(chance), conditions)) < chance[:, None]).sum(1)
        outcomes = (met / conditions + (met == conditions)) / 2.0
        lost = (np.maximum(old, new) ** conditions - chance**conditions).sum()
        missing = self._missing(is_new, outcomes)
        values: list[float | None] = outcomes.tolist()
        for index in np.flatnonzero(missing).tolist():
            values[index] = None
        ends = np.cumsum(sizes).tolist()
        groups = [
            list(zip(group, values[end - len(group) : end], strict=True)) for group, end in zip(arms, ends, strict=True)
        ]
        return Played(groups, float(lost))

    def _missing(self, is_new: FloatArray, outcomes: FloatArray) -> FloatArray:
        """Which outcomes are lost."""
        world = self.world
        if world.missing == (0.0, 0.0) and not world.lost_failures:
            return np.zeros(len(outcomes), dtype=bool)
        luck = self._rng.random((2, len(outcomes)))
        lost = luck[0] < np.where(is_new, world.missing[1], world.missing[0])
        return lost | (is_new & (outcomes < 1.0) & (luck[1] < world.lost_failures))


@dataclass(frozen=True, slots=True)
class Played:
    """One step's groups, and the successes lost against giving every rollout the better arm."""

    groups: list[list[tuple[Arm, float | None]]]
    regret: float


def generator(seed: int, *words: object) -> Generator:
    """An independent stream for one chunk of one cell."""
    return np.random.default_rng([seed, *(abs(hash_word(str(word))) for word in words)])


def hash_word(word: str) -> int:
    """A stable hash (``hash`` is salted per process)."""
    value = 2166136261
    for byte in word.encode():
        value = ((value ^ byte) * 16777619) % 2**32
    return value
