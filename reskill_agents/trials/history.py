"""What finished trials teach the next one: the paper's memory M, and how paired evidence goes stale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf

from reskill_agents.errors import TrialError
from reskill_agents.trials.course import FADES, FORGETTINGS, STEADY, TURNS, Course, predictive
from reskill_agents.trials.discounted_beta import MEMORY_GRID, beta_binomial
from reskill_agents.trials.evidence import StepEvidence
from reskill_agents.trials.state import items, mapping

MIN_TRIALS = 2  # the paper re-estimates from the second finished trial on
FORGETTING_GAIN = 0.5  # log-likelihood by which forgetting must beat none
TURNING_GAIN = 1.0  # log-likelihood by which a turning effect must beat the best that keeps its sign


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """The steps of one finished trial."""

    trial: str
    method: str
    accepted: bool
    steps: tuple[StepEvidence, ...]


@dataclass
class TrialHistory:
    """The finished trials of one run (for one model), in order. Open trials are not in it."""

    trials: list[FinishedTrial] = field(default_factory=list)

    def add(self, finished: FinishedTrial) -> None:
        """Append one finished trial."""
        self.trials.append(finished)

    def memory(self) -> float:
        """M in rollouts: infinite before the second finished trial, then of largest beta-binomial likelihood."""
        if len(self.trials) < MIN_TRIALS:
            return inf
        totals = _sums(_memory_scores(trial.steps) for trial in self.trials)
        return float(MEMORY_GRID[totals.index(max(totals))])

    def forgetting(self) -> float:
        """Forgetting factor of largest predictive likelihood; 1 (none) before the second finished trial."""
        scores = self._course_scores()
        if not scores:
            return 1.0
        best = max(FORGETTINGS, key=lambda course: scores[course])
        return best.forgetting if scores[best] > scores[STEADY] + FORGETTING_GAIN else 1.0

    def turns_after(self) -> float | None:
        """After how many steps of a trial effects turn, if finished trials say so; else ``None``.

        Turning delays acceptances, so it must explain the scores better than every course that keeps its sign
        (steady, forgotten, fading).
        """
        scores = self._course_scores()
        if not scores:
            return None
        best = max(TURNS, key=lambda course: scores[course])
        rival = max(score for course, score in scores.items() if course.turns_after is None)
        return best.turns_after if scores[best] > rival + TURNING_GAIN else None

    def _course_scores(self) -> dict[Course, float]:
        if len(self.trials) < MIN_TRIALS:
            return {}
        return dict(zip(_COURSES, _sums(_course_scores(trial.steps) for trial in self.trials), strict=True))

    def to_state(self) -> dict[str, object]:
        """JSON-able and exact."""
        return {
            "trials": [
                {
                    "trial": trial.trial,
                    "method": str(trial.method),
                    "accepted": trial.accepted,
                    "steps": [step.to_state() for step in trial.steps],
                }
                for trial in self.trials
            ]
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> TrialHistory:
        """The inverse of :meth:`to_state`.

        Raises:
            TrialError: when it is not the state of a history.
        """
        try:
            return cls([_finished(mapping(trial)) for trial in items(state["trials"])])
        except (KeyError, TypeError, ValueError) as error:
            raise TrialError(f"not the state of a trial history: {error!r}") from error


_COURSES = (STEADY, *FORGETTINGS, *FADES, *TURNS)


@lru_cache(maxsize=1024)
def _memory_scores(steps: tuple[StepEvidence, ...]) -> tuple[float, ...]:
    return tuple(beta_binomial(steps, memory) for memory in MEMORY_GRID)


@lru_cache(maxsize=1024)
def _course_scores(steps: tuple[StepEvidence, ...]) -> tuple[float, ...]:
    return tuple(predictive(steps, course) for course in _COURSES)


def _sums(rows: Iterable[tuple[float, ...]]) -> list[float]:
    return [sum(column) for column in zip(*rows, strict=True)]


def _finished(state: Mapping[str, object]) -> FinishedTrial:
    steps = tuple(StepEvidence.from_state(mapping(step)) for step in items(state["steps"]))
    return FinishedTrial(str(state["trial"]), str(state["method"]), state["accepted"] is True, steps)
