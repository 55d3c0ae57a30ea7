"""The seam between a trial and the way it weighs evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from reskill_agents.trials.assignment import Uniform
from reskill_agents.trials.evidence import StepEvidence
from reskill_agents.trials.verdict import Posterior, Rule, VerdictOutcome


@dataclass(frozen=True, slots=True)
class Decision:
    """What a method decided and why; the trial adds the counts and makes it a ``Verdict``.

    ``final`` says that no further step could follow: an acceptance that is braked then becomes a rejection.
    """

    outcome: VerdictOutcome
    rule: Rule
    reason: str
    final: bool


class TrialMethod(Protocol):
    """Assigns, learns and decides. One object serves one trial; it never sees digests, tasks or texts.

    Contract: ``candidates`` depends on evidence of earlier steps and on ``rng`` only; ``record`` is called once a
    step; ``decide`` is a pure function of the recorded steps and costs microseconds; once it returned a decision, no
    more steps are recorded; built again from ``settings`` and fed the same steps it is the same bit for bit.
    """

    @property
    def name(self) -> str:
        """Its public name (a ``TrialMethodName`` for those that ship)."""
        ...

    def share(self) -> float:
        """P(the next rollout gets the candidate); also the share of live units until the next step."""
        ...

    def candidates(self, group_size: int, rng: Uniform) -> int:
        """How many of the next group's rollouts get the candidate."""
        ...

    @property
    def bets(self) -> tuple[float, ...]:
        """The effects an anytime-valid method bets on; empty for the others (see ``anytime``)."""
        ...

    def record(self, step: StepEvidence) -> None:
        """Take in the evidence of one step."""
        ...

    def posterior(self) -> Posterior:
        """The belief after the recorded steps."""
        ...

    def decide(self) -> Decision | None:
        """The end of the trial, if it has come."""
        ...

    def settings(self) -> dict[str, object]:
        """What it was built with, JSON-able; with the recorded steps it gives the same method again."""
        ...
