"""When to stop: a triangular sequential boundary on the accumulated information (Whitehead & Stratton 1983).

The score ``S`` of a trial without any difference is a Brownian motion in the information ``I``. The trial continues
while ``lower(I) < S < upper(I)`` with the straight lines

    upper(I) = a + c I        lower(I) = -a + 3 c I
    a = (2 / d) ln(1 / (2 alpha)),  c = d / 4

which meet at ``I_max = a / c``: the stated maximum. Among tests with error ``alpha`` at effect 0 and at effect ``d``
the triangle nearly minimises the largest expected information. Looks are a step apart, not continuous, so both
lines are drawn in by Siegmund's 0.583 sqrt(information of the last step) (the "Christmas tree" correction); the
error rate then hardly depends on how much information a step brings.

A trial may also run out of steps at a fraction ``t = I / I_max``. The error not yet spent is then spent at once:
``S >= sqrt(I) (z_alpha + 0.9 max(0, t - 0.2)^2)`` is accepted (t at most 1). This curve was fitted to the exact
recursion of the density (no simulation) for 2 to 12 looks and t from 0.2 to 1, where the total error stays between
0.040 and 0.047; a test repeats the recursion.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import log, sqrt

ALPHA = 0.042  # below 5 %: two or three looks add half a point, discrete outcomes a little
Z_ALPHA = 1.7279343  # P(Z > Z_ALPHA) = ALPHA
_SIEGMUND = 0.583  # expected overshoot of a normal random walk, in standard deviations of a step


class Side(StrEnum):
    """Where the score stands."""

    UPPER = "upper"
    INSIDE = "inside"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Triangle:
    """The boundary for one effect of interest.

    Args:
        effect: the effect worth finding, in within-group standard deviations: missed with probability ``ALPHA``, as a
            null effect is accepted with probability ``ALPHA``.
        max_steps: the trial ends here even if the information stays below ``max_information``.
    """

    effect: float = 0.31
    max_steps: int = 12

    @property
    def intercept(self) -> float:
        """``a``."""
        return 2.0 / self.effect * log(1.0 / (2.0 * ALPHA))

    @property
    def slope(self) -> float:
        """``c``."""
        return self.effect / 4.0

    @property
    def max_information(self) -> float:
        """Where the lines meet."""
        return self.intercept / self.slope

    def upper(self, information: float, last: float) -> float:
        """The score from which the candidate is better, after a step that brought ``last`` information."""
        return self.intercept + self.slope * information - _SIEGMUND * sqrt(last)

    def lower(self, information: float, last: float) -> float:
        """The score up to which the trial is given up."""
        return -self.intercept + 3.0 * self.slope * information + _SIEGMUND * sqrt(last)

    def final(self, information: float) -> float:
        """The score that is accepted at the last look, when the steps run out before the information.

        Also the most that is asked for when a single look (a large live window) overshoots the maximum.
        """
        late = min(max(0.0, information / self.max_information - 0.2), 0.8)
        return sqrt(information) * (Z_ALPHA + 0.9 * late * late)

    def exhausted(self, information: float, steps: int) -> bool:
        """Whether the stated maximum is reached."""
        return steps >= self.max_steps or information >= self.max_information

    def side(self, score: float, information: float, last: float, steps: int) -> Side:
        """Where the score stands after ``steps`` steps; never ``INSIDE`` at the maximum."""
        upper = self.upper(information, last)
        lower = self.lower(information, last)
        if self.exhausted(information, steps) or lower >= upper:
            bar = min(upper, self.final(information))
            return Side.UPPER if information > 0.0 and score >= bar else Side.LOWER
        if score >= upper:
            return Side.UPPER
        return Side.LOWER if score <= lower else Side.INSIDE
