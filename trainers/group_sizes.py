"""How many rollouts each task of a step gets: a fixed budget goes to the tasks where it says most.

A group's gradient has the variance of its rewards, at most p (1 - p) for a task solved with chance p, and its baseline
is the better the larger it is. Sizes in proportion to the root of p (1 - p) give the least variance over all for a
fixed number of rollouts (Neyman's allocation). They depend on earlier steps only, so what a group of any size says
about its arms stays unbiased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Bounds of a group: ``least`` and ``most`` rollouts."""

    least: int
    most: int


def allocate(variances: Sequence[float], budget: int, bounds: SizeRange) -> list[int]:
    """Sizes for tasks with these expected p (1 - p), in their order.

    They add up to ``budget``, or to what the bounds allow that is nearest to it.

    Args:
        variances: at least 0; equal ones give equal sizes, as far as the budget divides.
        budget: rollouts of all groups.
        bounds: of one group.
    """
    weights = [math.sqrt(variance) for variance in variances]
    sizes = [bounds.least] * len(weights)
    for _ in range(budget - sum(sizes)):
        open_ones = [place for place, size in enumerate(sizes) if size < bounds.most]
        if not open_ones:
            break
        # the highest average comes next; of equal ones the smaller group, then the earlier
        best = max(open_ones, key=lambda place: (weights[place] / sizes[place], -sizes[place]))
        sizes[best] += 1
    return sizes
