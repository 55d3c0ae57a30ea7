"""How much better episodes went that kept a check: effects, errors, and which of them survive scrutiny.

Everything works on a table of doses: one row an episode, one column a check, 0..1 how well the check was kept, NaN
where it did not apply. Doses are compared inside strata (same task, step, library and model) where strata have several
episodes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reskill_agents.assertions.assertion import AssertionStatistics

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

WITHIN_SHARE = 0.25  # compare within strata only if they hold this share of a check's variation, else across all


@dataclass(frozen=True, slots=True)
class Effects:
    """Slopes of the outcome on each check's dose, in outcome units for dose 0 -> 1; higher is better.

    Args:
        slope: (D,) NaN where the dose does not vary.
        error: (D,) standard error: clustered by task with the jack-knife's correction, never below the classical one
            (of independent rows, and of rows that share their task's residual).
        p: (D,) one-sided p-value of slope <= 0; 1 where there is no slope.
        support: (D,) effective number of tasks: 1 / (sum of squared leverages), so a rare dose counts the tasks that
            have it; also the degrees of freedom plus one.
    """

    slope: Floats
    error: Floats
    p: Floats
    support: Ints

    @property
    def z(self) -> Floats:
        """(D,) slope over error; 0 where there is none."""
        return np.divide(self.slope, self.error, out=np.zeros_like(self.slope), where=self.error > 0)


def estimate(
    doses: Floats,
    outcome: Floats,
    strata: Ints,
    tasks: Ints,
    wider: Ints | None = None,
    *,
    within_share: float = WITHIN_SHARE,
) -> Effects:
    """Effects of each column of ``doses`` (E, D) on ``outcome`` (E,), centred within ``strata`` (E,).

    A column with less than ``within_share`` of its variation inside strata is centred within the ``wider`` ones instead
    (default: all rows). 0: no column is.
    """
    applies = ~np.isnan(doses)
    x = np.where(applies, doses, 0.0)
    y = np.where(applies, outcome[:, None], 0.0)
    overall_x, overall_y = _centre(x, applies, wider), _centre(y, applies, wider)
    within_x, within_y = _centre(x, applies, strata), _centre(y, applies, strata)
    total, inside = (overall_x**2).sum(0), (within_x**2).sum(0)
    within = inside >= within_share * total
    x, y = np.where(within, within_x, overall_x), np.where(within, within_y, overall_y)
    return slopes(x, y, applies, tasks)


def slopes(x: Floats, y: Floats, applies: Bools, tasks: Ints) -> Effects:
    """Effects of doses ``x`` (E, D) on outcomes ``y`` (E, D), both centred already, 0 where a check does not apply."""
    spread = (x**2).sum(0)
    usable = spread > 1e-9
    slope = np.divide((x * y).sum(0), spread, out=np.full(len(spread), np.nan), where=usable)
    residual = np.where(applies, y - np.nan_to_num(slope) * x, 0.0)
    weights = _sum_by(x**2, tasks)
    leverage = np.divide(weights, spread, out=np.zeros_like(weights), where=usable)
    scores = _sum_by(x * residual, tasks) / np.maximum(1 - leverage, 0.1)
    clustered = np.sqrt((scores**2).sum(0))
    freedom = np.maximum(applies.sum(0) - 2, 1)
    moments = np.maximum(spread, (_sum_by(x, tasks) ** 2).sum(0))  # the rows of a task may all share one residual
    classical = np.sqrt((residual**2).sum(0) / freedom * moments)
    error = np.divide(np.maximum(clustered, classical), spread, out=np.zeros_like(spread), where=usable)
    support = np.divide(1.0, (leverage**2).sum(0), out=np.zeros_like(spread), where=usable).astype(np.int64)
    p = np.array([_p_value(s, e, int(n)) for s, e, n in zip(slope, error, support, strict=True)])
    return Effects(slope, error, p, support)


def _centre(values: Floats, applies: Bools, strata: Ints | None) -> Floats:
    groups = np.zeros(len(values), dtype=np.int64) if strata is None else strata
    sums, counts = _sum_by(values, groups), _sum_by(applies.astype(float), groups)
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    return np.where(applies, values - means[groups], 0.0)


def _sum_by(values: Floats, groups: Ints) -> Floats:
    """(G, D) sums of the rows of ``values`` (E, D) by group number 0..G-1."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) != 0]) if len(groups) else np.zeros(0, dtype=np.int64)
    sums = np.zeros((int(groups.max(initial=-1)) + 1, values.shape[1]))
    if len(groups):
        sums[groups[order][starts]] = np.add.reduceat(values[order], starts, axis=0)
    return sums


def _p_value(slope: float, error: float, support: int) -> float:
    """One-sided p of Student's t with ``support`` - 1 degrees of freedom (Wallace's normal approximation)."""
    if math.isnan(slope) or support < 2:
        return 1.0
    if error <= 0:
        return 0.0 if slope > 0 else 1.0
    t, freedom = slope / error, support - 1
    z = math.copysign(math.sqrt(freedom * math.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3), t)
    return 0.5 * math.erfc(z / math.sqrt(2))


def benjamini_hochberg(p_values: Sequence[float] | Floats, rate: float) -> Bools:
    """Which hypotheses are rejected at false discovery rate ``rate`` (Benjamini and Hochberg, 1995)."""
    p = np.asarray(p_values, dtype=float)
    if not len(p):
        return np.zeros(0, dtype=bool)
    order = np.argsort(p, kind="stable")
    below = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / len(p))
    kept = np.zeros(len(p), dtype=bool)
    if len(below):
        kept[order[: below[-1] + 1]] = True
    return kept


def split_tasks(tasks: Ints, rng: random.Random) -> Bools:
    """(E,) a random half of the tasks; True is the first half."""
    names = sorted(set(tasks.tolist()))
    first = set(rng.sample(names, len(names) // 2))
    return np.array([task in first for task in tasks.tolist()], dtype=bool)


@dataclass(frozen=True, slots=True)
class Scrutiny:
    """Which checks survived, and what the halves of the tasks said.

    Args:
        survived: (D,) discovered at the wanted false discovery rate, and seen on each half of the tasks alone.
        whole: effects on all episodes (for ranking and reporting).
        held_out: (D,) the slope on the half of the tasks that speaks less for it.
    """

    survived: Bools
    whole: Effects
    held_out: Floats


def scrutinise(
    doses: Floats,
    outcome: Floats,
    strata: Ints,
    tasks: Ints,
    wider: Ints | None = None,
    *,
    rng: random.Random,
    rate: float = 0.1,
    screen: float = 0.2,
    min_support: int = 5,
    within_share: float = WITHIN_SHARE,
) -> Scrutiny:
    """Discover effects at a false discovery rate, and ask that they hold on two halves of the tasks.

    A check survives when Benjamini-Hochberg at ``rate`` rejects its null on all tasks, among the checks with at least
    2 ``min_support`` tasks of support, and each half alone has a positive slope with one-sided p below ``screen``.
    (Finding on one half and testing on the other only keeps the rate as well, and finds a little less: on 256 careless
    shop episodes 3.3 of 4 useful pieces of advice against 3.5.)
    """
    first = split_tasks(tasks, rng)
    wide = np.zeros(len(outcome), dtype=np.int64) if wider is None else wider
    one, two = (
        estimate(doses[half], outcome[half], strata[half], tasks[half], wide[half], within_share=within_share)
        for half in (first, ~first)
    )
    whole = estimate(doses, outcome, strata, tasks, wide, within_share=within_share)
    tested = np.flatnonzero(whole.support >= 2 * min_support)
    survived = np.zeros(doses.shape[1], dtype=bool)
    survived[tested] = benjamini_hochberg(whole.p[tested], rate)
    survived &= (np.maximum(one.p, two.p) < screen) & (np.fmin(one.slope, two.slope) > 0)
    return Scrutiny(survived, whole, np.where(one.p < two.p, two.slope, one.slope))


def residualise(doses: Floats, outcome: Floats, strata: Ints, wider: Ints, column: int, slope: float) -> Floats:
    """(E,) ``outcome`` less what column ``column`` explains at ``slope``; episodes where it did not apply stay."""
    dose = doses[:, column]
    applies = ~np.isnan(dose)
    centred = _centre(np.where(applies, dose, 0.0)[:, None], applies[:, None], strata)[:, 0]
    alone = np.bincount(strata[applies], minlength=int(strata.max(initial=-1)) + 1)[strata] < 2
    wide = _centre(np.where(applies, dose, 0.0)[:, None], applies[:, None], wider)[:, 0]
    shift = np.where(alone & applies, wide, centred)
    return outcome - slope * shift


def describe(
    dose: Floats,
    outcome: Floats,
    *,
    strata: Ints,
    wider: Ints,
    tasks: Ints,
    lengths: Ints,
    models: Ints,
    held_out: float = math.nan,
    within_share: float = WITHIN_SHARE,
) -> AssertionStatistics:
    """What a log says about one check with ``dose`` (E,); see :class:`AssertionStatistics` for the figures."""
    column = dose[:, None]
    effects = estimate(column, outcome, strata, tasks, wider, within_share=within_share)
    applies = ~np.isnan(dose)
    good = outcome > float(outcome.mean()) if len(outcome) else applies
    slope, error = float(np.nan_to_num(effects.slope[0])), float(effects.error[0])
    return AssertionStatistics(
        support=int(effects.support[0]),
        applies=float(applies.mean()) if len(dose) else 0.0,
        passed_good=_mean(dose[applies & good]),
        passed_poor=_mean(dose[applies & ~good]),
        effect=slope,
        low=slope - 1.96 * error,
        high=slope + 1.96 * error,
        held_out=_or_none(held_out),
        within_length=_or_none(estimate(column, outcome, lengths, tasks, within_share=0).slope[0]),
        within_model=_or_none(estimate(column, outcome, models, tasks, within_share=0).slope[0]),
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
