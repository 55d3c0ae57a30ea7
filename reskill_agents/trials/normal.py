"""The normal distribution in plain floats (scipy and numpy stay out of ``import reskill_agents``)."""

from __future__ import annotations

from math import erfc, sqrt

Z_95 = 1.959963984540054  # two-sided 95 %
Z_05 = 1.6448536269514722  # one-sided 5 %


def normal_cdf(z: float) -> float:
    """P(Z <= z)."""
    return 0.5 * erfc(-z / sqrt(2.0))
