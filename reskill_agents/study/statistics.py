"""Means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.ab.student import t_quantile

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over ``count`` seeds and the half-width of its two-sided 95 % Student interval (NaN below two seeds)."""

    mean: float
    half: float
    count: int

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return abs(self.mean) > self.half


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and interval; ``None`` without any value."""
    if not values:
        return None
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Estimate(mean, math.nan, count)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Estimate(mean, t_quantile(0.5 + _CONFIDENCE / 2, count - 1) * math.sqrt(variance / count), count)
