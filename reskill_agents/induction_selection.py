"""Which candidate advice is kept: confirmed on held-out tasks, and still mattering beside what is stronger."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from reskill_agents.assertions.assertion import AssertionStatistics
from reskill_agents.episodes import Episode, graded_outcome
from reskill_agents.induction_advice import Advice, advice_forbids, advice_sentence
from reskill_agents.induction_effects import (
    WITHIN_SHARE,
    Effects,
    Floats,
    Ints,
    Scrutiny,
    describe,
    estimate,
    residualise,
    scrutinise,
)
from reskill_agents.induction_joint import JointEffects, Race
from reskill_agents.induction_result import Induced, InductionConfig
from reskill_agents.vocabulary import MIN_TASKS

_ALIKE = 0.7  # correlation of doses from which on two checks are ways to say one thing: the sharper one is said


class Preference(Enum):
    """Which of several ways to say one thing is said, and how close to the best it must come to be preferred.

    ``SHARP``: the largest cautious effect: of "an option" and "every option the task names" the second.
    ``SURE``: the largest z: of "use x early" and "use x before y" the first.
    """

    SHARP = 0.93
    SURE = 0.7

    @property
    def near_tie(self) -> float:
        """Share of the best merit from which on the order of the candidates decides."""
        return self.value


def numbers(keys: Sequence[object]) -> Ints:
    """Consecutive numbers for equal keys, in order of first appearance."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)


@dataclass(frozen=True)
class Comparison:
    """Rows whose outcomes are compared, and inside which strata.

    Args:
        outcomes: (R,) graded outcome, 0..1.
        strata: (R,) rows are compared inside these.
        wider: (R,) strata to fall back on for checks that hardly vary inside ``strata``.
        tasks: (R,) errors are clustered by task, halves are split by task.
        steps: (R,) training steps.
        lengths, models: (R,) for the figures within the same length, the same model.
        episodes: (R,) index of the row's episode.
        n_episodes: how many episodes there are.
        within_share: see :func:`~reskill_agents.induction_effects.estimate`.
    """

    outcomes: Floats = field(repr=False)
    strata: Ints = field(repr=False)
    wider: Ints = field(repr=False)
    tasks: Ints = field(repr=False)
    steps: Ints = field(repr=False)
    lengths: Ints = field(repr=False)
    models: Ints = field(repr=False)
    episodes: Ints = field(repr=False)
    n_episodes: int
    within_share: float = WITHIN_SHARE

    @classmethod
    def of_episodes(cls, episodes: Sequence[Episode]) -> Comparison:
        """One row an episode, compared within the same task, step, library and model, else within library and model."""
        return cls.of_rows(
            episodes,
            np.arange(len(episodes)),
            strata=numbers([(e.task.task_id, e.step, e.library_digest, e.model) for e in episodes]),
            wider=numbers([(e.library_digest, e.model) for e in episodes]),
        )

    @classmethod
    def of_rows(
        cls,
        episodes: Sequence[Episode],
        rows: Ints,
        *,
        strata: Ints,
        wider: Ints,
        within_share: float = WITHIN_SHARE,
    ) -> Comparison:
        """Rows that each belong to the episode with the index in ``rows``."""
        outcomes = np.array([graded_outcome(episode) or 0.0 for episode in episodes])
        tasks = numbers([episode.task.task_id for episode in episodes])
        steps = np.array([episode.step for episode in episodes], dtype=np.int64)
        lengths = np.array([len(episode.turns) for episode in episodes], dtype=np.int64)
        models = numbers([episode.model for episode in episodes])
        return cls(
            outcomes=outcomes[rows],
            strata=strata,
            wider=wider,
            tasks=tasks[rows],
            steps=steps[rows],
            lengths=lengths[rows],
            models=models[rows],
            episodes=rows,
            n_episodes=len(episodes),
            within_share=within_share,
        )

    def effects(self, doses: Floats) -> Effects:
        """Effects of each column of ``doses`` (R, D)."""
        return estimate(doses, self.outcomes, self.strata, self.tasks, self.wider, within_share=self.within_share)

    def measure(self, advice: Advice, dose: Floats, *, after_step: int | None = None) -> Induced:
        """The figures of one piece of advice with ``dose`` (R,)."""
        column = dose if after_step is None else np.where(self.steps > after_step, dose, np.nan)
        effects = self.effects(column[:, None])
        return self.induced(advice, column, float(effects.slope[0]), float(effects.error[0]), int(effects.support[0]))

    def induced(
        self,
        advice: Advice,
        dose: Floats,
        effect: float,
        error: float,
        support: int,
        held_out: float = float("nan"),
        confirmed: bool = False,
    ) -> Induced:
        """``advice`` with its figures; an effect that cannot be estimated is none."""
        applies = ~np.isnan(dose)
        share = len(set(self.episodes[applies].tolist())) / self.n_episodes if self.n_episodes else 0.0
        kept = float(dose[applies].mean()) if applies.any() else 1.0
        if np.isnan(effect):
            effect, error = 0.0, 0.0
        return Induced(advice, effect, error, held_out, kept, share, support, confirmed)

    def statistics(self, found: Induced, dose: Floats) -> AssertionStatistics:
        """What an assertion about ``found`` carries."""
        return describe(
            dose,
            self.outcomes,
            strata=self.strata,
            wider=self.wider,
            tasks=self.tasks,
            lengths=self.lengths,
            models=self.models,
            held_out=found.held_out,
            within_share=self.within_share,
        )


def select(
    candidates: Sequence[Advice],
    doses: Floats,
    comparison: Comparison,
    *,
    rng: random.Random,
    config: InductionConfig,
    preference: Preference,
) -> tuple[tuple[Induced, ...], tuple[Induced, ...]]:
    """The confirmed ones, most promising first, and the doubtful ones with enough support, likeliest first.

    ``candidates`` in the order in which ways to say one thing are preferred where ``preference`` sees a near tie;
    ``doses`` (R, D) has a column for each.
    """
    if not candidates or not len(comparison.outcomes):
        return (), ()
    scrutiny = scrutinise(
        doses,
        comparison.outcomes,
        comparison.strata,
        comparison.tasks,
        comparison.wider,
        rng=rng,
        rate=config.rate,
        min_support=config.min_tasks,
        within_share=comparison.within_share,
    )
    support = scrutiny.whole.support
    confirmed = [
        comparison.induced(
            candidates[c], doses[:, c], effect, error, int(support[c]), float(scrutiny.held_out[c]), True
        )
        for c, effect, error in _chosen(candidates, doses, comparison, scrutiny, config, preference)
    ]
    doubtful = [
        comparison.induced(
            candidates[c],
            doses[:, c],
            float(scrutiny.whole.slope[c]),
            float(scrutiny.whole.error[c]),
            int(support[c]),
            float(scrutiny.held_out[c]),
        )
        for c in range(len(candidates))
        if not scrutiny.survived[c] and support[c] >= config.min_tasks
    ]
    confirmed.sort(key=lambda found: (-found.promise, advice_sentence(found.advice)))
    doubtful.sort(key=lambda found: (-found.z, advice_sentence(found.advice)))
    return tuple(confirmed), tuple(doubtful)


def _chosen(
    candidates: Sequence[Advice],
    doses: Floats,
    comparison: Comparison,
    scrutiny: Scrutiny,
    config: InductionConfig,
    preference: Preference,
) -> list[tuple[int, float, float]]:
    """(column, effect, error) of the survivors that still matter beside the stronger ones."""
    if preference is Preference.SHARP:
        return _forward(doses, comparison, scrutiny, config.proxy_share, preference)
    return _jointly(
        doses, [advice_forbids(advice) for advice in candidates], comparison, scrutiny, config.rate, preference
    )


def _jointly(
    doses: Floats,
    forbids: Sequence[bool],
    comparison: Comparison,
    scrutiny: Scrutiny,
    rate: float,
    preference: Preference,
) -> list[tuple[int, float, float]]:
    """By partial effects: what more rows of one log make significant is often an echo of what is known already."""
    joint = JointEffects.of(doses, comparison.outcomes, comparison.strata, comparison.tasks)
    columns = [int(column) for column in np.flatnonzero(scrutiny.survived)]
    race = Race(joint, columns, scrutiny.whole.slope, rate)
    while True:
        standing = race.standing()
        if not standing.ready:
            return [(entry.column, entry.effect, entry.error) for entry in race.entered]
        left, merit = standing.columns, standing.effects.z
        surest = max(standing.ready, key=lambda position: merit[position])
        rivals = [p for p in standing.ready if p == surest or _alike(doses[:, left[p]], doses[:, left[surest]])]
        leading = max(merit[position] for position in rivals)
        best = min(position for position in rivals if merit[position] >= preference.near_tie * leading)
        race.enter(standing, race.sharper(standing, best, forbids))


def _forward(
    doses: Floats, comparison: Comparison, scrutiny: Scrutiny, proxy_share: float, preference: Preference
) -> list[tuple[int, float, float]]:
    """(column, effect, error) of the survivors that still matter once the stronger ones are accounted for."""
    left = [int(column) for column in np.flatnonzero(scrutiny.survived)]
    chosen: list[tuple[int, float, float]] = []
    rest = comparison.outcomes
    while left:
        effects = estimate(
            doses[:, left],
            rest,
            comparison.strata,
            comparison.tasks,
            comparison.wider,
            within_share=comparison.within_share,
        )
        slopes, errors = np.nan_to_num(effects.slope), effects.error
        alone = scrutiny.whole.slope[left]
        alive = [
            position
            for position in range(len(left))
            if effects.p[position] < 0.05 and slopes[position] >= proxy_share * alone[position]
        ]
        if not alive:
            break
        surest = max(alive, key=lambda position: effects.z[position])
        rivals = [p for p in alive if p == surest or _alike(doses[:, left[p]], doses[:, left[surest]])]
        merit = slopes - errors if preference is Preference.SHARP else effects.z
        leading = max(merit[position] for position in rivals)
        best = min(position for position in rivals if merit[position] >= preference.near_tie * leading)
        column = left[best]
        chosen.append((column, float(slopes[best]), float(errors[best])))
        rest = residualise(doses, rest, comparison.strata, comparison.wider, column, float(slopes[best]))
        left = [left[position] for position in alive if position != best]
    return chosen


def _alike(a: Floats, b: Floats) -> bool:
    both = ~(np.isnan(a) | np.isnan(b))
    if both.sum() < MIN_TASKS or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return False
    return bool(np.corrcoef(a[both], b[both])[0, 1] >= _ALIKE)
