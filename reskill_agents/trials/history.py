"""What finished trials teach the next one: the paper's memory M, and how fast paired evidence goes stale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, lgamma, log

from reskill_agents.trials.discounted_beta import discount
from reskill_agents.trials.evidence import StepEvidence
from reskill_agents.trials.paired import PRIOR_PRECISION
from reskill_agents.trials.verdict import TrialMethodName

MEMORY_GRID = tuple(sorted({round(2000.0 ** (k / 63)) for k in range(64)}))  # the paper's range, 1..2000
FORGETTING_GRID = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4)
MIN_TRIALS = 2  # the paper re-estimates from the second finished trial on


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """The steps of one finished trial."""

    trial: str
    method: TrialMethodName
    accepted: bool
    steps: tuple[StepEvidence, ...]


@dataclass
class TrialHistory:
    """The finished trials of one run, in order. Open trials are not in it."""

    trials: list[FinishedTrial] = field(default_factory=list)

    def add(self, finished: FinishedTrial) -> None:
        """Append one finished trial."""
        self.trials.append(finished)

    def memory(self) -> float:
        """M: infinite before the second finished trial, then the maximiser of the beta-binomial likelihood."""
        if len(self.trials) < MIN_TRIALS:
            return inf
        return float(max(MEMORY_GRID, key=lambda m: sum(beta_binomial(t.steps, m) for t in self.trials)))

    def forgetting(self) -> float:
        """The forgetting factor of largest predictive likelihood; 1 (none) before the second finished trial.

        Ties and near ties go to less forgetting: another factor must win by half a unit of log-likelihood.
        """
        if len(self.trials) < MIN_TRIALS:
            return 1.0
        scores = {rate: sum(predictive(t.steps, rate) for t in self.trials) for rate in FORGETTING_GRID}
        best = max(FORGETTING_GRID, key=lambda rate: scores[rate])
        return best if scores[best] > scores[1.0] + 0.5 else 1.0

    def to_state(self) -> dict[str, object]:
        """JSON-able and exact."""
        return {
            "trials": [
                {
                    "trial": t.trial,
                    "method": str(t.method),
                    "accepted": t.accepted,
                    "steps": [step.to_state() for step in t.steps],
                }
                for t in self.trials
            ]
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> TrialHistory:
        """The inverse of :meth:`to_state`."""
        return cls(
            [
                FinishedTrial(
                    t["trial"],
                    TrialMethodName(t["method"]),
                    t["accepted"],
                    tuple(StepEvidence.from_state(step) for step in t["steps"]),
                )
                for t in state["trials"]  # type: ignore[attr-defined]
            ]
        )


def beta_binomial(steps: Sequence[StepEvidence], memory: float) -> float:
    """Log-likelihood of each step's successes given the discounted posterior before it, summed over both arms."""
    total = 0.0
    for arm in (0, 1):
        alpha = beta = 1.0
        for step in steps:
            count, wins = step.counts[arm], step.totals[arm]
            losses = max(count - wins, 0.0)
            total += lgamma(count + 1.0) - lgamma(wins + 1.0) - lgamma(losses + 1.0)
            total += lgamma(alpha + beta) - lgamma(alpha) - lgamma(beta)
            total += lgamma(alpha + wins) + lgamma(beta + losses) - lgamma(alpha + beta + count)
            keep = discount(memory, count)
            alpha = keep * alpha + wins
            beta = keep * beta + losses
    return total


def predictive(steps: Sequence[StepEvidence], forgetting: float) -> float:
    """Log predictive likelihood of each step's score given the discounted evidence before it.

    Before a step with information v the score is N(v m, v + v^2 / p) with m, p the discounted posterior mean and
    precision.
    """
    total = score = information = 0.0
    for step in steps:
        score *= forgetting
        information *= forgetting
        v = step.information
        if v > 0.0:
            precision = information + PRIOR_PRECISION
            spread = v + v * v / precision
            residual = step.score - v * score / precision
            total -= 0.5 * (log(spread) + residual * residual / spread)
        score += step.score
        information += v
    return total
