"""An e-process from the exact permutation distribution of each group.

For one bet ``l`` a group of n outcomes with n1 candidates multiplies the wealth by

    exp(l * sum of the candidate's x) / E[exp(l * sum of n1 of the n x, drawn without replacement)]

with x = w y of ``evidence``. The expectation is e_n1(exp(l x_1), ...) / C(n, n1), e the elementary
symmetric polynomial: exact, n * n1 multiplications. Without a difference the wealth is a martingale that starts at
1, so by Ville's inequality it ever reaches 20 with probability 5 % at most, however often and whenever somebody looks,
and whatever the sizes of steps and groups. The average over several bets keeps that.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, exp, log

BLOCK = 64  # larger groups (live windows) are compared in blocks of this size, in order of arrival


def log_wealth(values: Sequence[float], chosen: Sequence[bool], bet: float) -> float:
    """Log of one group's factor.

    Args:
        values: standardised outcomes x, any order that does not depend on the arms.
        chosen: which of them are the candidate's.
        bet: the effect bet on.
    """
    total = 0.0
    for start in range(0, len(values), BLOCK):
        block, mine = values[start : start + BLOCK], chosen[start : start + BLOCK]
        n1 = sum(mine)
        if not 0 < n1 < len(block):
            continue
        centre = sum(block) / len(block)
        gain = bet * sum(x - centre for x, is_mine in zip(block, mine, strict=True) if is_mine)
        total += gain - log(_symmetric([exp(bet * (x - centre)) for x in block], n1) / comb(len(block), n1))
    return total


def _symmetric(values: Sequence[float], order: int) -> float:
    """The elementary symmetric polynomial of the given order."""
    sums = [1.0] + [0.0] * order
    for count, value in enumerate(values, 1):
        for k in range(min(order, count), 0, -1):
            sums[k] += value * sums[k - 1]
    return sums[order]
