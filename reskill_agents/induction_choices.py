"""Advice induced from a log of listed choices, without a language model.

Every sentence of the closed grammar is a candidate check. Kept are those that separate good from poor episodes on tasks
they were not found on, at a controlled false discovery rate, and that do not merely restate how episodes end.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from reskill_agents.assertions import AssertionStatistics
from reskill_agents.directives import ActionClass, Directive, Form
from reskill_agents.episodes import Episode, StopReason
from reskill_agents.induction_advice import Advice
from reskill_agents.induction_candidates import enumerate_directives
from reskill_agents.induction_effects import Floats
from reskill_agents.induction_result import Induced, InductionConfig
from reskill_agents.induction_selection import Comparison, Preference, select
from reskill_agents.induction_triggers import TriggerFit, TurnTexts, choose_trigger
from reskill_agents.induction_turns import TurnTable, offered_choices, tabulate
from reskill_agents.vocabulary import MIN_TASKS, ActionVocabulary, learn_vocabulary


@dataclass(frozen=True)
class ChoiceInduction:
    """What a log of choices taught; see :class:`~reskill_agents.induction_result.Induction`."""

    vocabulary: ActionVocabulary
    confirmed: tuple[Induced, ...]
    doubtful: tuple[Induced, ...]
    table: TurnTable = field(repr=False)
    texts: TurnTexts = field(repr=False)
    comparison: Comparison = field(repr=False)

    @property
    def opening(self) -> tuple[str, ...]:
        """The open kinds."""
        return tuple(target.kind for target in self.vocabulary.kinds)

    def sayable(self) -> Sequence[Advice]:
        """Every sentence of the grammar over the vocabulary."""
        return enumerate_directives(self.vocabulary)

    def doses(self, advice: Advice) -> Floats:
        """(E,) how well each episode kept ``advice``."""
        return self.table.dose(_directive(advice))

    def statistics(self, found: Induced) -> AssertionStatistics:
        """What an assertion about ``found`` carries."""
        return self.comparison.statistics(found, self.doses(found.advice))

    def trigger_for(self, advice: Advice) -> TriggerFit:
        """When ``advice`` should arrive, judged on this log."""
        return choose_trigger(_directive(advice), self.table, self.texts)

    def measure(self, advice: Advice, *, after_step: int | None = None) -> Induced:
        """The figures of any directive over this vocabulary."""
        return self.comparison.measure(advice, self.doses(advice), after_step=after_step)


def _directive(advice: Advice) -> Directive:
    if not isinstance(advice, Directive):
        raise TypeError("a log of choices is asked about sentences of the closed grammar")
    return advice


def induce_choices(episodes: Sequence[Episode], *, rng: random.Random, config: InductionConfig) -> ChoiceInduction:
    """What ``episodes``, all with an outcome, teach. Deterministic in ``rng`` and the episodes."""
    vocabulary = learn_vocabulary(offered_choices(episodes), min_tasks=config.min_tasks)
    table = tabulate(episodes, vocabulary)
    comparison = Comparison.of_episodes(episodes)
    endings = _endings(episodes, table)
    candidates = [d for d in enumerate_directives(vocabulary) if not _restates(d, endings)]
    doses = np.stack([table.dose(d) for d in candidates], axis=1) if candidates else np.zeros((len(episodes), 0))
    confirmed, doubtful = select(candidates, doses, comparison, rng=rng, config=config, preference=Preference.SHARP)
    texts = TurnTexts.of(episodes, min_tasks=config.min_tasks)
    return ChoiceInduction(vocabulary, confirmed, doubtful, table, texts, comparison)


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
