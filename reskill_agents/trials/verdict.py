"""What a trial knows and what it decides: posterior, per-arm counts, verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from reskill_agents.trials.arm import Arm


class TrialMethodName(StrEnum):
    """How a trial weighs its evidence.

    ``paired``: inside the groups (default). ``discounted_beta``: the paper's Beta posteriors. ``removal``: paired, but
    the candidate is shorter and has to show only that little is lost.
    """

    PAIRED = "paired"
    DISCOUNTED_BETA = "discounted_beta"
    REMOVAL = "removal"


class Guarantee(StrEnum):
    """What the 5 % error rate of ``paired`` covers: looks at the end of each step, or looks at any time."""

    STEPS = "steps"
    ANYTIME = "anytime"


class VerdictOutcome(StrEnum):
    """What becomes of the candidate."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Rule(StrEnum):
    """Which rule ended the trial."""

    BETTER = "better"  # the upper boundary was crossed
    NOT_BETTER = "not_better"  # the lower boundary was crossed: further rollouts would not change the answer
    MAXIMUM = "maximum"  # the stated maximum of steps or information was reached without acceptance
    MISSING = "missing"  # the boundary was crossed, but the candidate lost significantly more outcomes
    FADING = "fading"  # the upper boundary was crossed, but the effect is predicted to turn
    HARMLESS = "harmless"  # a removal: what is lost stays below the margin
    MEANS = "means"  # the paper's rule: the means were compared after a fixed number of steps


class PerArm(NamedTuple):
    """One count or mean per arm."""

    incumbent: float
    candidate: float

    def of(self, arm: Arm) -> float:
        """The value of one arm."""
        return self.candidate if arm is Arm.CANDIDATE else self.incumbent


@dataclass(frozen=True, slots=True)
class Posterior:
    """What the trial believes now. Higher is better for the candidate everywhere.

    Args:
        probability: P(candidate better over the next five steps), by the course learned from finished trials.
            ``removal``: P(what is lost is less than a skill worth keeping).
        effect: posterior mean of that effect. ``paired``: in within-group standard deviations (for binary outcomes
            near one half, twice it is the log odds ratio). Otherwise: the difference of the means, in outcome units.
        low, high: 95 % interval of ``effect``.
        difference: estimated difference of the trial outcome (candidate - incumbent), in outcome units, unshrunk.
        difference_se: its standard error; ``inf`` while there is no evidence.
        information: evidence gathered. ``paired``: balanced comparisons in groups with variance (a group of 8 split
            4:4 counts 2), discounted; ``discounted_beta``: discounted number of rollouts; ``removal``: 1 / variance of
            the difference.
    """

    probability: float
    effect: float
    low: float
    high: float
    difference: float
    difference_se: float
    information: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a trial.

    Args:
        outcome: accepted or rejected.
        rule: which rule ended it.
        reason: one sentence for people, with the numbers.
        posterior: the belief at the end.
        steps: recorded steps.
        episodes: rollouts per arm, the missing ones included.
        missing: rollouts without outcome per arm.
        means: mean observed outcome per arm (raw, unpaired: for reading, not for deciding).
    """

    outcome: VerdictOutcome
    rule: Rule
    reason: str
    posterior: Posterior
    steps: int
    episodes: PerArm
    missing: PerArm
    means: PerArm

    @property
    def accepted(self) -> bool:
        """Whether the candidate becomes the library in force."""
        return self.outcome is VerdictOutcome.ACCEPTED

    @property
    def evidence(self) -> float:
        """How much was gathered, in the unit of the rule (see :attr:`Posterior.information`)."""
        return self.posterior.information
