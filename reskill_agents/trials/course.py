"""How the effect of a skill runs over the steps of its trial: steady, forgotten, fading, or turning.

While a trial runs the policy learns, and a skill may help less and less, or begin to hurt. A ``Course`` says what the
score of an earlier step is worth for the steps to come; which course fits is learned from finished trials
by predictive likelihood (``TrialHistory``), as the paper learns its memory M.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from reskill_agents.trials.evidence import StepEvidence

PRIOR_PRECISION = 4.0  # effect ~ N(0, 1/4) in standard deviations: N(0, 1) on the log odds ratio near one half
HORIZON = 5  # a verdict is judged by the mean effect over the five steps after it


@dataclass(frozen=True, slots=True)
class Course:
    """The effect at step k (0-based) of a trial is ``weight(k)`` times that at its start, up to slow change.

    Args:
        forgetting: factor in (0, 1] by which all earlier evidence counts less with every step (slow change either way).
        half_life: steps in which the effect halves.
        turns_after: steps after which the effect is zero, falling on a straight line, and then negative (at most -1).
    """

    forgetting: float = 1.0
    half_life: float | None = None
    turns_after: float | None = None

    def weight(self, step: int) -> float:
        """The effect at ``step`` in units of the effect at the start."""
        if self.half_life is not None:
            return float(0.5 ** (step / self.half_life))
        if self.turns_after is not None:
            return max(1.0 - step / self.turns_after, -1.0)
        return 1.0

    def ahead(self, steps: int) -> float:
        """Mean weight over the ``HORIZON`` steps after ``steps`` recorded ones."""
        if self.half_life is None and self.turns_after is None:
            return 1.0
        return sum(self.weight(steps + k) for k in range(HORIZON)) / HORIZON

    def fold(self, steps: Sequence[StepEvidence]) -> tuple[float, float]:
        """Score and information about the effect at the start of the trial, forgotten as the course says."""
        score = information = 0.0
        for number, step in enumerate(steps):
            weight = self.weight(number)
            score = self.forgetting * score + weight * step.score
            information = self.forgetting * information + weight * weight * step.information
        return score, information


STEADY = Course()
FORGETTINGS = tuple(Course(forgetting=rate) for rate in (0.95, 0.9, 0.8, 0.7, 0.6, 0.5))
FADES = tuple(Course(half_life=steps) for steps in (8.0, 4.0, 2.0))
TURNS = tuple(Course(turns_after=steps) for steps in (8.0, 6.0, 5.0, 4.0))


def predictive(steps: Sequence[StepEvidence], course: Course) -> float:
    """Log predictive likelihood of each step's score given the steps before it, constants dropped.

    Before a step with information v and weight p the score is N(v p m, v + v^2 p^2 / k) with m and k the posterior
    mean and precision of the effect at the start.
    """
    total = score = information = 0.0
    for number, step in enumerate(steps):
        score *= course.forgetting
        information *= course.forgetting
        weight, v = course.weight(number), step.information
        if v > 0.0:
            precision = information + PRIOR_PRECISION
            spread = v + v * v * weight * weight / precision
            residual = step.score - v * weight * score / precision
            total -= 0.5 * (log(spread / v) + residual * residual / spread)
        score += weight * step.score
        information += weight * weight * v
    return total
