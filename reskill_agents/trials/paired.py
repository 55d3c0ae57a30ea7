"""The default method: paired evidence within groups, Thompson shares, triangular sequential boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, sqrt
from random import Random

from reskill_agents.trials.assignment import round_share
from reskill_agents.trials.boundary import Side, Triangle
from reskill_agents.trials.evidence import StepEvidence
from reskill_agents.trials.method import Decision
from reskill_agents.trials.normal import Z_95, normal_cdf
from reskill_agents.trials.state import integer, mapping, number
from reskill_agents.trials.verdict import Posterior, Rule, TrialMethodName, VerdictOutcome

PRIOR_PRECISION = 4.0  # effect ~ N(0, 1/4) in standard deviations: N(0, 1) on the log odds ratio near one half
MIN_SHARE = 0.25  # a group split 2:6 still carries three quarters of the information of 4:4


@dataclass
class PairedMethod:
    """Score statistic within groups (see ``evidence``), posterior N(S/(I+4), 1/(I+4)), triangular boundary.

    Args:
        boundary: when to stop.
        forgetting: factor in (0, 1] by which earlier steps count less in the posterior (not in the boundary, whose
            error rate it would break); learned by ``TrialHistory``.
    """

    boundary: Triangle = field(default_factory=Triangle)
    forgetting: float = 1.0
    steps: list[StepEvidence] = field(default_factory=list)

    @property
    def name(self) -> TrialMethodName:
        """``paired``."""
        return TrialMethodName.PAIRED

    def candidates(self, group_size: int, rng: Random) -> int:
        """Thompson share P(candidate better), kept inside [1/4, 3/4] and to two rollouts per arm."""
        share = min(max(self.posterior().probability, MIN_SHARE), 1.0 - MIN_SHARE)
        return round_share(group_size, share, rng)

    def record(self, step: StepEvidence) -> None:
        """Take in one step."""
        self.steps.append(step)

    def posterior(self) -> Posterior:
        """Normal posterior of the discounted evidence; the difference is the plain within-group estimate."""
        return paired_posterior(self.steps, self.forgetting)

    def decide(self) -> Decision | None:
        """Compare the undiscounted score with the boundary."""
        if not self.steps:
            return None
        score = sum(step.score for step in self.steps)
        information = sum(step.information for step in self.steps)
        side = self.boundary.side(score, information, self.steps[-1].information, len(self.steps))
        if side is Side.INSIDE:
            return None
        final = self.boundary.exhausted(information, len(self.steps))
        numbers = f"score {score:.2f} at information {information:.1f} after {len(self.steps)} steps"
        if side is Side.UPPER:
            return Decision(VerdictOutcome.ACCEPTED, Rule.BETTER, f"{numbers} is above the boundary", final)
        rule = Rule.MAXIMUM if final else Rule.NOT_BETTER
        reason = f"{numbers}: {'the maximum is reached' if final else 'below the boundary'}"
        return Decision(VerdictOutcome.REJECTED, rule, reason, final)

    def settings(self) -> dict[str, object]:
        """The boundary and the forgetting in force."""
        return {"forgetting": self.forgetting, "boundary": asdict(self.boundary)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> PairedMethod:
        """A fresh one with the same settings."""
        boundary = mapping(settings["boundary"])
        triangle = Triangle(number(boundary["alpha"]), number(boundary["effect"]), integer(boundary["max_steps"]))
        return cls(triangle, number(settings["forgetting"]))


def paired_posterior(steps: Sequence[StepEvidence], forgetting: float = 1.0) -> Posterior:
    """The posterior after ``steps``, the last of which counts fully."""
    score = information = raw = variance = comparisons = 0.0
    for step in steps:
        score = forgetting * score + step.score
        information = forgetting * information + step.information
        raw += step.raw_score
        variance += step.raw_variance
        comparisons += step.comparisons
    precision = information + PRIOR_PRECISION
    mean = score / precision
    half = Z_95 / sqrt(precision)
    return Posterior(
        probability=normal_cdf(score / sqrt(precision)),
        effect=mean,
        low=mean - half,
        high=mean + half,
        difference=raw / comparisons if comparisons else 0.0,
        difference_se=sqrt(variance) / comparisons if variance else inf,
        information=information,
    )
