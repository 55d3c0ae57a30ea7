"""How a live trial decides: an e-process, with the level that the app's whole life leaves it.

A live app runs trial after trial for years; a test at 5 % each would promote something useless every other month. With
e-LOND (Xu and Ramdas 2024) trial t is tested at the level ``alpha * gamma_t * (promotions before it + 1)``, where the
gammas sum to one: the expected share of false promotions among all promotions then stays below ``alpha`` however the
trials depend on each other, and while nothing is worth promoting, so does the chance of any promotion at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reskill_agents.errors import TrialError
from reskill_agents.trials.anytime import AnytimeMethod
from reskill_agents.trials.boundary import Triangle
from reskill_agents.trials.history import TrialHistory
from reskill_agents.trials.method import Decision, TrialMethod
from reskill_agents.trials.paired import PairedMethod
from reskill_agents.trials.removal import WORTH, RemovalMethod
from reskill_agents.trials.state import integer, mapping, number
from reskill_agents.trials.verdict import Rule, TrialMethodName, VerdictOutcome
from reskill_agents.trials.version_trial import VersionTrial

_DECAY = 1.6  # of gamma_t: slow enough that the tenth trial is not hopeless
_ZETA = 2.2857657  # sum over t of t ** -1.6


def trial_level(alpha: float, number_: int, promotions: int) -> float:
    """The level of trial ``number_`` (1-based) after ``promotions`` earlier ones."""
    return float(alpha * number_**-_DECAY / _ZETA * (promotions + 1))


@dataclass
class LifetimeMethod(AnytimeMethod):
    """``anytime`` with a level of its own, a least number of outcomes per arm, and an end.

    Args:
        level: accept at a wealth of ``1 / level``.
        min_outcomes: observed units per arm before it accepts.
        cap: largest share of the candidate.
    """

    level: float = 0.05
    min_outcomes: int = 20
    cap: float = 0.5

    def share(self) -> float:
        """The Thompson share, at most ``cap``."""
        return min(super().share(), self.cap)

    def decide(self) -> Decision | None:
        """Accept on wealth; give up at the lower boundary, or when the windows run out."""
        if not self.steps:
            return None
        wealth, windows = self.wealth(), len(self.steps)
        final = windows >= self.boundary.max_steps
        numbers = f"wealth {wealth:.3g} after {windows} windows"
        counts = [sum(step.counts[arm] for step in self.steps) for arm in (0, 1)]
        if wealth >= 1.0 / self.level and min(counts) >= self.min_outcomes and self.posterior().probability > 0.5:
            reason = f"{numbers}: at least {1.0 / self.level:.3g}"
            return Decision(VerdictOutcome.ACCEPTED, Rule.BETTER, reason, final)
        score = sum(step.score for step in self.steps)
        information = sum(step.information for step in self.steps)
        lower = self.boundary.lower(information, self.steps[-1].information)
        if information > 0.0 and score <= lower:
            reason = f"{numbers}, score {score:.1f} at information {information:.0f}: not worth more traffic"
            return Decision(VerdictOutcome.REJECTED, Rule.NOT_BETTER, reason, final)
        if final:
            reason = f"{numbers}, {1.0 / self.level:.3g} is needed: the windows ran out"
            return Decision(VerdictOutcome.REJECTED, Rule.MAXIMUM, reason, final)
        return None

    def settings(self) -> dict[str, object]:
        """As ``anytime``, with its own."""
        return {**super().settings(), "level": self.level, "min_outcomes": self.min_outcomes, "cap": self.cap}

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> LifetimeMethod:
        """A fresh one with the same settings."""
        base = PairedMethod.from_settings(settings)
        return cls(
            base.boundary,
            base.forgetting,
            base.turns_after,
            level=number(settings["level"]),
            min_outcomes=integer(settings["min_outcomes"]),
            cap=number(settings["cap"]),
        )


def lifetime_method(
    history: TrialHistory, *, level: float, effect: float, max_windows: int, min_outcomes: int, cap: float
) -> TrialMethod:
    """The method of a trial of something new."""
    boundary = Triangle(effect, max_windows)
    turns = history.turns_after()
    return LifetimeMethod(boundary, history.forgetting(), turns, level=level, min_outcomes=min_outcomes, cap=cap)


@dataclass
class LiveRemoval(RemovalMethod):
    """``removal`` with a largest share of threads that go without the skill."""

    cap: float = 0.5

    def share(self) -> float:
        """One half, at most ``cap``."""
        return min(super().share(), self.cap)

    def settings(self) -> dict[str, object]:
        """As ``removal``, with the cap."""
        return {**super().settings(), "cap": self.cap}

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> LiveRemoval:
        """A fresh one with the same settings."""
        return cls(RemovalMethod.from_settings(settings).boundary, cap=number(settings["cap"]))


def removal_method(*, max_windows: int, cap: float) -> TrialMethod:
    """The method of a trial that leaves a skill out."""
    return LiveRemoval(Triangle(WORTH, max_windows), cap=cap)


def restore_trial(state: Mapping[str, object]) -> VersionTrial:
    """The trial of either method that ``VersionTrial.to_state`` described.

    Raises:
        TrialError: when it is not the state of a live trial.
    """
    try:
        settings = mapping(state["settings"])
        removal = state["method"] == TrialMethodName.REMOVAL
        method: TrialMethod = LiveRemoval.from_settings(settings) if removal else LifetimeMethod.from_settings(settings)
    except (KeyError, TypeError, ValueError) as error:
        raise TrialError(f"not the state of a live trial: {error!r}") from error
    return VersionTrial.from_state(state, method=method)
