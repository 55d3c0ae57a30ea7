"""The default method: paired evidence within groups, Thompson shares, triangular sequential boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, sqrt

from reskill_agents.trials.assignment import Uniform, round_share
from reskill_agents.trials.boundary import Side, Triangle
from reskill_agents.trials.course import PRIOR_PRECISION, STEADY, Course
from reskill_agents.trials.evidence import StepEvidence
from reskill_agents.trials.method import Decision
from reskill_agents.trials.normal import Z_95, normal_cdf
from reskill_agents.trials.state import integer, mapping, number
from reskill_agents.trials.verdict import Posterior, Rule, TrialMethodName, VerdictOutcome

MIN_SHARE = 1 / 3  # a group split 1:2 carries eight ninths of the information of 1:1, one split 1:3 three quarters


@dataclass
class PairedMethod:
    """Score statistic within groups (see ``evidence``), posterior N(S/(I+4), 1/(I+4)), triangular boundary.

    The boundary looks at the plain sums, so that its error rate holds whatever was learned. What was learned about
    the course of effects can only delay an acceptance: the effect predicted for the next five steps must be
    positive too.

    Args:
        boundary: when to stop.
        forgetting: by ``TrialHistory.forgetting``.
        turns_after: by ``TrialHistory.turns_after``.
    """

    boundary: Triangle = field(default_factory=Triangle)
    forgetting: float = 1.0
    turns_after: float | None = None
    steps: list[StepEvidence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._belief = paired_posterior(self.steps, self.course)

    @property
    def name(self) -> TrialMethodName:
        """``paired``."""
        return TrialMethodName.PAIRED

    @property
    def bets(self) -> tuple[float, ...]:
        """None."""
        return ()

    @property
    def course(self) -> Course:
        """The course of effects that finished trials suggest."""
        return Course(self.forgetting, turns_after=self.turns_after)

    def share(self) -> float:
        """Thompson share P(candidate better), kept inside [1/3, 2/3]."""
        return min(max(self.posterior().probability, MIN_SHARE), 1.0 - MIN_SHARE)

    def candidates(self, group_size: int, rng: Uniform) -> int:
        """The share of the group, rounded at random, two rollouts per arm at least."""
        return round_share(group_size, self.share(), rng)

    def record(self, step: StepEvidence) -> None:
        """Take in one step."""
        self.steps.append(step)
        self._belief = paired_posterior(self.steps, self.course)

    def posterior(self) -> Posterior:
        """Normal posterior of the effect over the next steps; the difference is the plain within-group estimate."""
        return self._belief

    def decide(self) -> Decision | None:
        """Compare the plain score with the boundary, and an acceptance with the prediction."""
        if not self.steps:
            return None
        score = sum(step.score for step in self.steps)
        information = sum(step.information for step in self.steps)
        side = self.boundary.side(score, information, self.steps[-1].information, len(self.steps))
        if side is Side.INSIDE:
            return None
        final = self.boundary.exhausted(information, len(self.steps))
        numbers = f"score {score:.2f} at information {information:.1f} after {len(self.steps)} steps"
        if side is Side.LOWER:
            rule = Rule.MAXIMUM if final else Rule.NOT_BETTER
            reason = f"{numbers}: {'the maximum is reached' if final else 'below the lower boundary'}"
            return Decision(VerdictOutcome.REJECTED, rule, reason, final)
        reason = f"{numbers} is above the upper boundary"
        probability = self.posterior().probability
        if probability > 0.5:
            return Decision(VerdictOutcome.ACCEPTED, Rule.BETTER, reason, final)
        if not final:
            return None
        reason = f"{reason}, but P(better over the next steps) is {probability:.2f}"
        return Decision(VerdictOutcome.REJECTED, Rule.FADING, reason, final)

    def settings(self) -> dict[str, object]:
        """The boundary and the course in force."""
        return {"boundary": asdict(self.boundary), "forgetting": self.forgetting, "turns_after": self.turns_after}

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> PairedMethod:
        """A fresh one with the same settings."""
        boundary = mapping(settings["boundary"])
        triangle = Triangle(number(boundary["effect"]), integer(boundary["max_steps"]))
        turns = settings["turns_after"]
        return cls(triangle, number(settings["forgetting"]), None if turns is None else number(turns))


def paired_posterior(steps: Sequence[StepEvidence], course: Course = STEADY) -> Posterior:
    """The posterior after ``steps``: effect over the steps ahead ~ N(a S/(I+4), a^2/(I+4)), a = ``course.ahead``."""
    score, information = course.fold(steps)
    ahead = course.ahead(len(steps))
    precision = information + PRIOR_PRECISION
    mean = ahead * score / precision
    half = abs(ahead) * Z_95 / sqrt(precision)
    comparisons = sum(step.comparisons for step in steps)
    variance = sum(step.raw_variance for step in steps)
    sign = (ahead > 0.0) - (ahead < 0.0)
    return Posterior(
        probability=normal_cdf(sign * score / sqrt(precision)),
        effect=mean,
        low=mean - half,
        high=mean + half,
        difference=sum(step.raw_score for step in steps) / comparisons if comparisons else 0.0,
        difference_se=sqrt(variance) / comparisons if variance else inf,
        information=information,
    )
