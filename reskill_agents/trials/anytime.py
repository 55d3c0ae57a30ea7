"""A guarantee for looks at any time: accept on the wealth of an e-process (see ``wealth``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

from reskill_agents.trials.method import Decision
from reskill_agents.trials.paired import PairedMethod
from reskill_agents.trials.verdict import Rule, VerdictOutcome

BETS = (0.1, 0.2, 0.3, 0.45, 0.65)  # effects in within-group standard deviations
THRESHOLD = 20.0  # 1 / 5 %


@dataclass
class AnytimeMethod(PairedMethod):
    """``paired`` with an acceptance that is valid at any time; given up as ``paired`` does, but without a maximum."""

    @property
    def bets(self) -> tuple[float, ...]:
        """The effects it bets on."""
        return BETS

    def wealth(self) -> float:
        """The e-value: evidence against "the candidate is not better", 1 at the start."""
        logs = [sum(step.log_bets[k] for step in self.steps) for k in range(len(BETS))]
        top = max(logs)
        return exp(min(top, 600.0)) * sum(exp(value - top) for value in logs) / len(BETS)

    def decide(self) -> Decision | None:
        """Accept at a wealth of 20; give up at the lower boundary (that cannot accept anything wrongly)."""
        if not self.steps:
            return None
        wealth = self.wealth()
        numbers = f"wealth {wealth:.3g} after {len(self.steps)} steps"
        if wealth >= THRESHOLD and self.posterior().probability > 0.5:
            return Decision(VerdictOutcome.ACCEPTED, Rule.BETTER, f"{numbers}: at least {THRESHOLD:g}", final=False)
        score = sum(step.score for step in self.steps)
        information = sum(step.information for step in self.steps)
        lower = self.boundary.lower(information, self.steps[-1].information)
        if information > 0.0 and score <= lower:
            return Decision(
                VerdictOutcome.REJECTED, Rule.NOT_BETTER, f"{numbers}: below the lower boundary", final=False
            )
        return None

    def settings(self) -> dict[str, object]:
        """As ``paired``, with the guarantee."""
        return {**super().settings(), "guarantee": "anytime"}

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> AnytimeMethod:
        """A fresh one with the same settings."""
        base = PairedMethod.from_settings(settings)
        return cls(base.boundary, base.forgetting, base.turns_after)
