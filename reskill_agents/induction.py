"""Assertions induced from a log of choices, without a language model.

Every sentence of the closed grammar is a candidate check. Kept are those that separate good from poor episodes on tasks
they were not found on, at a controlled false discovery rate, and that do not merely restate how episodes end.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from reskill_agents.assertions.assertion import AssertionStatistics
from reskill_agents.directives import ActionClass, Directive, Form, sentence
from reskill_agents.episodes import Episode, StopReason, graded_outcome
from reskill_agents.induction_candidates import enumerate_directives
from reskill_agents.induction_effects import Floats, Ints, Scrutiny, describe, estimate, residualise, scrutinise
from reskill_agents.induction_triggers import TriggerFit, TurnTexts, choose_trigger
from reskill_agents.induction_turns import TurnTable, offered_choices, tabulate
from reskill_agents.vocabulary import MIN_TASKS, ActionVocabulary, learn_vocabulary

_ALIKE = 0.7  # correlation of doses from which on two checks are ways to say one thing: the sharper one is said
_NEAR_TIE = 0.93  # of ways about as sharp, the one whose form comes first in the grammar is taken


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
class InducedDirective:
    """A sentence of the grammar with what the log says about it.

    Args:
        directive: the sentence.
        effect: graded outcome of keeping it against not, 0..1; beyond what better-supported ones explain.
        error: its standard error.
        held_out: the effect on tasks it was not found on (NaN: it was no candidate there).
        kept: mean share of turns on which it is kept now, where it applies.
        applies: share of episodes in which it applies.
        support: tasks that tell keeping it from not.
        confirmed: it survived the false discovery control.
    """

    directive: Directive
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
        sure = "confirmed on held-out tasks" if self.confirmed else "not confirmed"
        return (
            f"{sentence(self.directive)} effect {self.effect:+.3f} (z {self.z:.1f}, {self.support} tasks, {sure}); "
            f"applies in {self.applies:.0%} of episodes, kept {self.kept:.0%}"
        )


@dataclass(frozen=True)
class Induction:
    """What a log taught: the vocabulary, the directives worth trying, best first, and the rest for exploration."""

    vocabulary: ActionVocabulary
    confirmed: tuple[InducedDirective, ...]
    doubtful: tuple[InducedDirective, ...]
    table: TurnTable = field(repr=False)
    texts: TurnTexts = field(repr=False)
    outcomes: Floats = field(repr=False)
    strata: Ints = field(repr=False)
    tasks: Ints = field(repr=False)
    steps: Ints = field(repr=False)
    lengths: Ints = field(repr=False)
    models: Ints = field(repr=False)

    def statistics(self, found: InducedDirective) -> AssertionStatistics:
        """What an assertion about ``found`` carries."""
        return describe(
            self.table.dose(found.directive),
            self.outcomes,
            strata=self.strata,
            tasks=self.tasks,
            lengths=self.lengths,
            models=self.models,
            held_out=found.held_out,
        )

    def trigger_for(self, directive: Directive) -> TriggerFit:
        """When ``directive`` should arrive, judged on this log."""
        return choose_trigger(directive, self.table, self.texts)

    def measure(self, directive: Directive, *, after_step: int | None = None) -> InducedDirective:
        """The figures of any directive over this vocabulary, confirmed or not (e.g. one a live skill gives).

        ``after_step``: look only at episodes of later training steps.
        """
        dose = self.table.dose(directive)[:, None]
        if after_step is not None:
            dose = np.where((self.steps > after_step)[:, None], dose, np.nan)
        effects = estimate(dose, self.outcomes, self.strata, self.tasks)
        return _induced(directive, dose[:, 0], *_figures(effects.slope[0], effects.error[0]), int(effects.support[0]))


def _figures(slope: float, error: float) -> tuple[float, float]:
    return (0.0, 0.0) if np.isnan(slope) else (float(slope), float(error))


def _induced(
    directive: Directive,
    dose: Floats,
    effect: float,
    error: float,
    support: int,
    held_out: float = float("nan"),
    confirmed: bool = False,
) -> InducedDirective:
    applies = ~np.isnan(dose)
    kept = float(dose[applies].mean()) if applies.any() else 1.0
    return InducedDirective(directive, effect, error, held_out, kept, float(applies.mean()), support, confirmed)


def induce(episodes: Sequence[Episode], *, rng: random.Random, config: InductionConfig | None = None) -> Induction:
    """What ``episodes`` teach. Faults are left out. Deterministic in ``rng`` and the episodes."""
    config = config or InductionConfig()
    scored = [episode for episode in episodes if episode.score is not None]
    vocabulary = learn_vocabulary(offered_choices(scored), min_tasks=config.min_tasks)
    table = tabulate(scored, vocabulary)
    outcomes = np.array([graded_outcome(episode) or 0.0 for episode in scored])
    tasks = _numbers([episode.task.task_id for episode in scored])
    strata = _numbers([(e.task.task_id, e.step, e.library_digest, e.model) for e in scored])
    steps = np.array([episode.step for episode in scored], dtype=np.int64)
    lengths = np.array([len(episode.turns) for episode in scored], dtype=np.int64)
    models = _numbers([episode.model for episode in scored])
    texts = TurnTexts.of(scored, min_tasks=config.min_tasks)
    endings = _endings(scored, table)
    candidates = [d for d in enumerate_directives(vocabulary) if not _restates(d, endings)]
    if not candidates or not scored:
        return Induction(vocabulary, (), (), table, texts, outcomes, strata, tasks, steps, lengths, models)
    doses = np.stack([table.dose(directive) for directive in candidates], axis=1)
    scrutiny = scrutinise(doses, outcomes, strata, tasks, rng=rng, rate=config.rate, min_support=config.min_tasks)
    chosen = _forward(doses, outcomes, strata, tasks, scrutiny, config.proxy_share)
    confirmed = [
        _induced(
            candidates[column],
            doses[:, column],
            effect,
            error,
            int(scrutiny.whole.support[column]),
            float(scrutiny.held_out[column]),
            True,
        )
        for column, effect, error in chosen
    ]
    confirmed.sort(key=lambda found: (-found.promise, found.directive.form, sentence(found.directive)))
    doubtful = [
        _induced(
            candidates[column],
            doses[:, column],
            *_figures(scrutiny.whole.slope[column], scrutiny.whole.error[column]),
            int(scrutiny.whole.support[column]),
            float(scrutiny.held_out[column]),
        )
        for column in range(len(candidates))
        if not scrutiny.survived[column] and scrutiny.whole.support[column] >= config.min_tasks
    ]
    doubtful.sort(key=lambda found: (-found.z, sentence(found.directive)))
    return Induction(
        vocabulary, tuple(confirmed), tuple(doubtful), table, texts, outcomes, strata, tasks, steps, lengths, models
    )


def _numbers(keys: Sequence[object]) -> Ints:
    """Consecutive numbers for equal keys, in order of first appearance."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)


def _endings(episodes: Sequence[Episode], table: TurnTable) -> frozenset[ActionClass]:
    """Classes whose choice ends the episode (almost) always: advice about them restates the outcome."""
    last = np.array([len(episode.turns) - 1 if episode.stop is StopReason.DONE else -1 for episode in episodes])
    final = table.index == last[table.episode] if len(table.episode) else np.zeros(0, dtype=bool)
    found = set()
    for column, target in enumerate(table.vocabulary.classes):
        taken = table.chosen[:, column]
        if taken.sum() >= MIN_TASKS and final[taken].mean() >= 0.9:
            found.add(target)
    return frozenset(found)


def _restates(directive: Directive, endings: frozenset[ActionClass]) -> bool:
    """Advice to end, or not to end, the episode; "before ending it, do ..." is no such advice."""
    if directive.form is Form.BEFORE:
        return directive.other in endings
    if directive.form is Form.AFTER:
        return directive.other in endings or directive.target in endings
    return directive.target in endings and directive.form is not Form.AMONG


def _forward(
    doses: Floats, outcomes: Floats, strata: Ints, tasks: Ints, scrutiny: Scrutiny, proxy_share: float
) -> list[tuple[int, float, float]]:
    """(column, effect, error) of the survivors that still matter once the stronger ones are accounted for."""
    left = [int(column) for column in np.flatnonzero(scrutiny.survived)]
    chosen: list[tuple[int, float, float]] = []
    rest = outcomes
    while left:
        effects = estimate(doses[:, left], rest, strata, tasks)
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
        cautious = slopes - errors
        rivals = [p for p in alive if p == surest or _alike(doses[:, left[p]], doses[:, left[surest]])]
        sharpest = max(cautious[position] for position in rivals)
        best = min(position for position in rivals if cautious[position] >= _NEAR_TIE * sharpest)
        column = left[best]
        chosen.append((column, float(slopes[best]), float(errors[best])))
        rest = residualise(doses, rest, strata, column, float(slopes[best]))
        left = [left[position] for position in alive if position != best]
    return chosen


def _alike(a: Floats, b: Floats) -> bool:
    both = ~(np.isnan(a) | np.isnan(b))
    if both.sum() < MIN_TASKS or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return False
    return bool(np.corrcoef(a[both], b[both])[0, 1] >= _ALIKE)
