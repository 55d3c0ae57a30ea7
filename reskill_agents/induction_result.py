"""What induction gives: advice with its figures, and the questions that can be asked of the log behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reskill_agents.assertions import Assertion, AssertionStatistics
from reskill_agents.induction_advice import Advice, advice_check, advice_sentence
from reskill_agents.induction_effects import Floats
from reskill_agents.induction_triggers import TriggerFit
from reskill_agents.vocabulary import MIN_TASKS


@dataclass(frozen=True, slots=True)
class InductionConfig:
    """How strict induction is.

    Args:
        rate: false discovery rate of the confirmed checks.
        min_tasks: tasks in which a word must occur to become a slot value, and least support of a check.
        proxy_share: a check whose effect shrinks below this share once a stronger one is accounted for is its proxy.
    """

    rate: float = 0.1
    min_tasks: int = MIN_TASKS
    proxy_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Induced:
    """A piece of advice with what the log says about it.

    Args:
        advice: what to do.
        effect: graded outcome of keeping it against not, 0..1; beyond what better-supported ones explain.
        error: its standard error.
        held_out: the effect on the half of the tasks that speaks less for it (NaN: none).
        kept: mean share of turns on which it is kept now, where it applies.
        applies: share of episodes in which it applies.
        support: tasks that tell keeping it from not.
        confirmed: it survived the false discovery control.
    """

    advice: Advice
    effect: float
    error: float
    held_out: float
    kept: float
    applies: float
    support: int
    confirmed: bool

    @property
    def z(self) -> float:
        """Effect over error."""
        return self.effect / self.error if self.error > 0 else 0.0

    @property
    def promise(self) -> float:
        """What following it could add to the mean graded outcome: a cautious effect times the room for it."""
        return (self.effect - self.error) * (1 - self.kept) * self.applies

    @property
    def evidence(self) -> str:
        """The figures in one line."""
        sure = "confirmed on both halves of the tasks" if self.confirmed else "not confirmed"
        return (
            f"{advice_sentence(self.advice)} effect {self.effect:+.3f} (z {self.z:.1f}, {self.support} tasks, {sure}); "
            f"applies in {self.applies:.0%} of episodes, kept {self.kept:.0%}"
        )


class Induction(Protocol):
    """What a log taught. Two kinds exist: of listed choices, and of plain texts."""

    @property
    def confirmed(self) -> Sequence[Induced]:
        """Advice that survived scrutiny, most promising first."""
        ...

    @property
    def doubtful(self) -> Sequence[Induced]:
        """Other advice with enough support, likeliest first: for exploration."""
        ...

    @property
    def opening(self) -> tuple[str, ...]:
        """Kinds of choices that open something new (see :class:`FollowsDirective`)."""
        ...

    def sayable(self) -> Sequence[Advice]:
        """All advice over the vocabulary of the log."""
        ...

    def doses(self, advice: Advice) -> Floats:
        """(E,) how well each episode with an outcome kept ``advice``: 0..1, NaN where it did not apply."""
        ...

    def trigger_for(self, advice: Advice) -> TriggerFit:
        """When ``advice`` should arrive."""
        ...

    def measure(self, advice: Advice, *, after_step: int | None = None) -> Induced:
        """The figures of any advice; ``after_step``: only from episodes of later training steps."""
        ...

    def statistics(self, found: Induced) -> AssertionStatistics:
        """What an assertion about ``found`` carries."""
        ...


def induced_assertions(induction: Induction, advice: Sequence[Induced] | None = None) -> tuple[Assertion, ...]:
    """``advice`` (default: the confirmed one) as assertions with their statistics, in its order."""
    return tuple(
        Assertion(
            advice_check(found.advice, induction.opening),
            text=advice_sentence(found.advice),
            statistics=induction.statistics(found),
        )
        for found in (induction.confirmed if advice is None else advice)
    )
