"""The confirming trial of a removal: the candidate is the library without one skill.

A shorter prompt wins ties, so the candidate need not be better; it must not be much worse. With D the difference of
the trial outcome (without - with), a skill worth 0.05 is removed with probability 5 % at most: the triangular
boundary runs on the score of ``D + 0.05`` (drift 0 when the skill is worth exactly that), and the estimate of D must
not be below the margin of -0.02. A skill worth nothing is kept with the same small probability, information
permitting; without enough of it the skill stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf, sqrt

from reskill_agents.trials.assignment import Uniform, round_share
from reskill_agents.trials.boundary import Side, Triangle
from reskill_agents.trials.evidence import StepEvidence
from reskill_agents.trials.method import Decision
from reskill_agents.trials.normal import Z_95, normal_cdf
from reskill_agents.trials.state import integer, mapping, number
from reskill_agents.trials.verdict import Posterior, Rule, TrialMethodName, VerdictOutcome

WORTH = 0.05  # of the trial outcome: a skill worth keeping
MARGIN = 0.02  # of the trial outcome: the estimated loss that is tolerated
MIN_INFORMATIVE = 16  # groups with variance; where nothing varies nothing is shown
_PRIOR_GROUPS, _PRIOR_VARIANCE = 4.0, 0.04  # keeps the variance of the first steps from being tiny by chance


@dataclass
class RemovalMethod:
    """Non-inferiority of the shorter library, sequentially. See the module.

    Args:
        boundary: its ``effect`` is ``WORTH``, in outcome units.
    """

    boundary: Triangle = field(default_factory=lambda: Triangle(effect=WORTH))
    steps: list[StepEvidence] = field(default_factory=list)

    @property
    def name(self) -> TrialMethodName:
        """``removal``."""
        return TrialMethodName.REMOVAL

    @property
    def bets(self) -> tuple[float, ...]:
        """None."""
        return ()

    def share(self) -> float:
        """One half: most information for the two arms."""
        return 0.5

    def candidates(self, group_size: int, rng: Uniform) -> int:
        """Half the group."""
        return round_share(group_size, 0.5, rng)

    def record(self, step: StepEvidence) -> None:
        """Take in one step."""
        self.steps.append(step)

    def posterior(self) -> Posterior:
        """The difference with a flat prior; ``probability`` = P(D > -0.05)."""
        comparisons = sum(step.comparisons for step in self.steps)
        if not comparisons:
            return Posterior(0.5, 0.0, -inf, inf, 0.0, inf, 0.0)
        difference = sum(step.raw_score for step in self.steps) / comparisons
        error = sqrt(self._variance() / comparisons)
        return Posterior(
            probability=normal_cdf((difference + WORTH) / error),
            effect=difference,
            low=difference - Z_95 * error,
            high=difference + Z_95 * error,
            difference=difference,
            difference_se=error,
            information=1.0 / (error * error),
        )

    def decide(self) -> Decision | None:
        """Compare the score of D + 0.05 with the boundary, and D with the margin."""
        if not self.steps:
            return None
        scale = 1.0 / self._variance()
        information = scale * sum(step.comparisons for step in self.steps)
        last = scale * self.steps[-1].comparisons
        score = scale * sum(step.raw_score for step in self.steps) + WORTH * information
        final = self.boundary.exhausted(information, len(self.steps))
        side = self.boundary.side(score, information, last, len(self.steps))
        if side is Side.INSIDE:
            return None
        difference = self.posterior().difference
        numbers = f"difference {difference:+.3f} without the skill after {len(self.steps)} steps"
        enough = sum(step.informative for step in self.steps) >= MIN_INFORMATIVE
        if side is Side.UPPER and difference >= -MARGIN and enough:
            return Decision(VerdictOutcome.ACCEPTED, Rule.HARMLESS, f"{numbers}: the skill is not missed", final)
        if side is Side.LOWER and not final:
            return Decision(VerdictOutcome.REJECTED, Rule.NOT_BETTER, f"{numbers}: the skill is missed", final)
        if final and (enough or len(self.steps) >= self.boundary.max_steps):
            return Decision(VerdictOutcome.REJECTED, Rule.MAXIMUM, f"{numbers}: not shown to be harmless", True)
        return None

    def _variance(self) -> float:
        """Variance of an outcome within a group, zero-variance groups included."""
        raw = sum(step.raw_variance for step in self.steps)
        comparisons = sum(step.comparisons for step in self.steps)
        return (raw + _PRIOR_GROUPS * _PRIOR_VARIANCE) / (comparisons + _PRIOR_GROUPS)

    def settings(self) -> dict[str, object]:
        """The boundary."""
        return {"boundary": asdict(self.boundary)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> RemovalMethod:
        """A fresh one with the same settings."""
        boundary = mapping(settings["boundary"])
        return cls(Triangle(number(boundary["effect"]), integer(boundary["max_steps"])))
