"""The effect of B over A, paired over tasks, with an interval that holds for few tasks and for yes/no rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt
from statistics import NormalDist, fmean

from reskill_agents.ab.student import t_quantile

ALPHA = 0.05  # over all looks together
POWER = 0.8  # for the number of tasks that are still needed


@dataclass(frozen=True, slots=True)
class Effect:
    """B less A in units of reward, as the mean over tasks of the mean over a task's pairs.

    Args:
        tasks, pairs: with both outcomes.
        mean: the plain estimate; above 0 means that B is better.
        low, high: the interval; see :func:`paired_effect`.
        confidence: of the interval.
        sd: of the per-task differences, as the interval uses it.
        wins, losses, ties: tasks where B's mean is above, below, equal to A's.
    """

    tasks: int
    pairs: int
    mean: float
    low: float
    high: float
    confidence: float
    sd: float
    wins: int
    losses: int
    ties: int


def look_confidence(look: int) -> float:
    """Confidence of the interval at the ``look``-th look at growing data: 1 - 0.05 / 2^look.

    The errors of all looks add up to at most 5 %, so asking again after more tasks is allowed.
    """
    return 1.0 - ALPHA / 2.0**look


def paired_effect(
    pairs: Mapping[str, Sequence[tuple[float, float]]], confidence: float = 0.95, *, adjusted: bool = True
) -> Effect | None:
    """The effect from the (A, B) rewards of each task's pairs; ``None`` with fewer than two tasks.

    The interval is Student's t over per-task differences after adding two pseudo-tasks, one in each direction, in
    which one pair differs by as much as pairs that differ do on average (by 1 if none does). For one pair a task and
    yes/no rewards this is the adjusted interval of Bonett and Price (Journal of Educational and Behavioral Statistics,
    2012) with t for z; for rewards on a fine scale it is nearly the plain t interval. Without the pseudo-tasks an
    interval over tied tasks has no width; ``adjusted=False`` leaves them out, for costs. Rewards within [0, 1] bound it
    by [-1, 1]. ``tests/benchmarks/ab_coverage.py`` measures its coverage.
    """
    differences = {task: [b - a for a, b in values] for task, values in pairs.items() if values}
    if len(differences) < 2:
        return None
    means = [fmean(values) for values in differences.values()]
    every = [value for values in differences.values() for value in values]
    moved = [abs(value) for value in every if value]
    pseudo = (fmean(moved) if moved else 1.0) * len(differences) / len(every)
    padded = [*means, pseudo, -pseudo] if adjusted else means
    size = len(padded)
    centre = fmean(padded)
    sd = sqrt(sum((value - centre) ** 2 for value in padded) / (size - 1))
    half = t_quantile(0.5 + confidence / 2.0, size - 1) * sd / sqrt(size)
    most = 1.0 if all(0.0 <= value <= 1.0 for both in pairs.values() for pair in both for value in pair) else inf
    return Effect(
        tasks=len(means),
        pairs=len(every),
        mean=fmean(means),
        low=max(centre - half, -most),
        high=min(centre + half, most),
        confidence=confidence,
        sd=sd,
        wins=sum(value > 0 for value in means),
        losses=sum(value < 0 for value in means),
        ties=sum(value == 0 for value in means),
    )


def tasks_needed(effect: Effect, margin: float, confidence: float) -> int:
    """How many tasks more would probably (80 %) decide, if the estimate and its spread are right; at least 1.

    Decided means: the interval leaves zero, or lies inside (-margin, margin), whichever takes fewer tasks.
    """
    normal = NormalDist()
    size = abs(effect.mean)
    z = normal.inv_cdf(0.5 + confidence / 2.0) + normal.inv_cdf(POWER)
    distance = max(size, margin - size)
    needed = ceil((z * effect.sd / distance) ** 2)
    return max(1, needed - effect.tasks)
