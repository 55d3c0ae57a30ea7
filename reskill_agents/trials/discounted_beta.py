"""The paper's rule: a discounted Beta posterior per arm, clamped Thompson shares, means compared at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, lgamma, log, sqrt

from reskill_agents.trials.assignment import Uniform, bounds
from reskill_agents.trials.evidence import StepEvidence
from reskill_agents.trials.method import Decision
from reskill_agents.trials.normal import Z_95
from reskill_agents.trials.state import number
from reskill_agents.trials.verdict import Posterior, Rule, TrialMethodName, VerdictOutcome

CLAMP = 0.15  # P(new better) is kept inside [0.15, 0.85]
STEPS = 5  # K_e
MIN_EPISODES = 50
MEMORY_GRID = tuple(sorted({round(2000.0 ** (k / 39)) for k in range(40)}))  # the paper's range of M, 1..2000
_GRID = 96  # points of the quadrature for P(new better); error below 4e-4


@dataclass
class DiscountedBetaMethod:
    """alpha <- w alpha + m, beta <- w beta + (n - m) per arm and step, with w = M / (M + n).

    Args:
        memory: M, in rollouts; infinite until two trials are finished, then learned by ``TrialHistory``.
        blocked: keep at least two rollouts per arm in a group (invariant 3). The paper draws each rollout
            independently, which leaves groups with a single arm; ``False`` does the same.
    """

    memory: float = inf
    blocked: bool = True
    alpha: list[float] = field(default_factory=lambda: [1.0, 1.0])
    beta: list[float] = field(default_factory=lambda: [1.0, 1.0])
    steps: list[StepEvidence] = field(default_factory=list)
    _probability: float = field(default=0.5, repr=False)

    @property
    def name(self) -> TrialMethodName:
        """``discounted_beta``."""
        return TrialMethodName.DISCOUNTED_BETA

    @property
    def bets(self) -> tuple[float, ...]:
        """None."""
        return ()

    def share(self) -> float:
        """P(new better), clamped."""
        return min(max(self._probability, CLAMP), 1.0 - CLAMP)

    def candidates(self, group_size: int, rng: Uniform) -> int:
        """Independent draws at the clamped P(new better)."""
        share = self.share()
        count = sum(rng.random() < share for _ in range(group_size))
        if not self.blocked:
            return count
        low, high = bounds(group_size)
        return min(max(count, low), high)

    def record(self, step: StepEvidence) -> None:
        """Discount, then add the step's successes (graded outcomes count by their value)."""
        self.steps.append(step)
        for arm in (0, 1):
            count, total = step.counts[arm], step.totals[arm]
            keep = discount(self.memory, count)
            self.alpha[arm] = keep * self.alpha[arm] + total
            self.beta[arm] = keep * self.beta[arm] + (count - total)
        self._probability = probability_greater(self.alpha[1], self.beta[1], self.alpha[0], self.beta[0])

    def posterior(self) -> Posterior:
        """Means and variances of the two Betas; the interval is a normal one for their difference."""
        means = [a / (a + b) for a, b in zip(self.alpha, self.beta, strict=True)]
        weights = [a + b for a, b in zip(self.alpha, self.beta, strict=True)]
        effect = means[1] - means[0]
        error = sqrt(sum(m * (1.0 - m) / (w + 1.0) for m, w in zip(means, weights, strict=True)))
        return Posterior(
            probability=self._probability,
            effect=effect,
            low=effect - Z_95 * error,
            high=effect + Z_95 * error,
            difference=effect,
            difference_se=error if self.steps else inf,
            information=sum(weights) - 4.0,
        )

    def decide(self) -> Decision | None:
        """After 5 steps and 50 episodes, accept if the new mean is larger."""
        episodes = sum(sum(step.counts) + sum(step.missing) for step in self.steps)
        if len(self.steps) < STEPS or episodes < MIN_EPISODES:
            return None
        old, new = (a / (a + b) for a, b in zip(self.alpha, self.beta, strict=True))
        better = new > old
        return Decision(
            VerdictOutcome.ACCEPTED if better else VerdictOutcome.REJECTED,
            Rule.MEANS,
            f"mean {new:.3f} with the candidate, {old:.3f} with the incumbent after {len(self.steps)} steps",
            final=True,
        )

    def settings(self) -> dict[str, object]:
        """Memory (``None`` for infinite: JSON knows no infinity) and blocking."""
        return {"memory": None if self.memory == inf else self.memory, "blocked": self.blocked}

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> DiscountedBetaMethod:
        """A fresh one with the same settings."""
        memory = settings["memory"]
        return cls(inf if memory is None else number(memory), bool(settings["blocked"]))


def discount(memory: float, count: float) -> float:
    """w = M / (M + n); 1 for infinite memory."""
    return 1.0 if memory == inf else memory / (memory + count)


def beta_binomial(steps: Sequence[StepEvidence], memory: float) -> float:
    """Log-likelihood of each step's successes given the discounted posterior before it, summed over both arms.

    Without the binomial coefficients, which do not depend on ``memory``.
    """
    total = 0.0
    for arm in (0, 1):
        alpha = beta = 1.0
        for step in steps:
            count, wins = step.counts[arm], step.totals[arm]
            losses = max(count - wins, 0.0)
            total += lgamma(alpha + beta) - lgamma(alpha) - lgamma(beta)
            total += lgamma(alpha + wins) + lgamma(beta + losses) - lgamma(alpha + beta + count)
            keep = discount(memory, count)
            alpha = keep * alpha + wins
            beta = keep * beta + losses
    return total


def probability_greater(alpha1: float, beta1: float, alpha0: float, beta0: float) -> float:
    """P(X1 > X0) for independent Betas, by midpoint quadrature on the log-odds scale around their means."""
    centres, widths = [], []
    for a, b in ((alpha1, beta1), (alpha0, beta0)):
        centres.append(log(a / b))
        widths.append(sqrt(1.0 / a + 1.0 / b))
    low = min(c - 8.0 * w for c, w in zip(centres, widths, strict=True))
    high = max(c + 8.0 * w for c, w in zip(centres, widths, strict=True))
    step = (high - low) / _GRID
    norm1 = lgamma(alpha1 + beta1) - lgamma(alpha1) - lgamma(beta1)
    norm0 = lgamma(alpha0 + beta0) - lgamma(alpha0) - lgamma(beta0)
    below = greater = mass = 0.0
    for index in range(_GRID):
        x = low + (index + 0.5) * step
        softplus = log(1.0 + exp(-abs(x))) + (x if x > 0.0 else 0.0)  # log(1 + e^x)
        density1 = exp(norm1 + alpha1 * x - (alpha1 + beta1) * softplus)
        density0 = exp(norm0 + alpha0 * x - (alpha0 + beta0) * softplus)
        greater += density1 * (below + 0.5 * density0)
        below += density0
        mass += density1
    return greater / (below * mass)
