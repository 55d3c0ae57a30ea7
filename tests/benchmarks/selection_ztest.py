"""A fixed 50/50 z-test, written apart from ``reskill_agents.trials`` (it imports nothing from it but the arms' names).

Every rollout gets an arm by a fair coin. After a fixed number of steps the mean outcomes of the two arms are compared,
unpaired, with a one-sided Welch z-test at 5 %. Missing outcomes are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

from numpy.random import Generator

from reskill_agents.trials import Arm

Z_CRITICAL = 1.6449


@dataclass
class FixedZTest:
    """One test of ``steps`` steps."""

    rng: Generator
    steps: int = 5
    seen: int = 0
    outcomes: dict[Arm, list[float]] = field(default_factory=lambda: {Arm.INCUMBENT: [], Arm.CANDIDATE: []})
    missing: dict[Arm, int] = field(default_factory=lambda: {Arm.INCUMBENT: 0, Arm.CANDIDATE: 0})

    def assign(self, group_size: int) -> list[Arm]:
        """A fair coin for each rollout."""
        return [Arm.CANDIDATE if coin else Arm.INCUMBENT for coin in self.rng.integers(0, 2, group_size)]

    def record_step(self, groups: list[list[tuple[Arm, float | None]]]) -> None:
        """Collect the outcomes."""
        self.seen += 1
        for group in groups:
            for arm, outcome in group:
                if outcome is None:
                    self.missing[arm] += 1
                else:
                    self.outcomes[arm].append(outcome)

    def accepted(self) -> bool | None:
        """The result after the last step; ``None`` before."""
        if self.seen < self.steps:
            return None
        (m0, v0), (m1, v1) = (_mean_and_error(self.outcomes[arm]) for arm in (Arm.INCUMBENT, Arm.CANDIDATE))
        return v0 + v1 > 0.0 and (m1 - m0) / sqrt(v0 + v1) > Z_CRITICAL


def _mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean and variance of the mean."""
    count = len(values)
    if count < 2:
        return 0.0, 0.0
    mean = sum(values) / count
    return mean, sum((value - mean) ** 2 for value in values) / (count - 1) / count
