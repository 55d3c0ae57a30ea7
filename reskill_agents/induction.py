"""Advice and assertions induced from a log, without a language model."""

from __future__ import annotations

import random
from collections.abc import Sequence

from reskill_agents.environment import action_verb
from reskill_agents.episodes import Episode
from reskill_agents.induction_choices import ChoiceInduction, induce_choices
from reskill_agents.induction_log import TextInduction, induce_texts
from reskill_agents.induction_result import Induced, Induction, InductionConfig, induced_assertions

__all__ = ["Induced", "Induction", "InductionConfig", "induce", "induced_assertions"]


def induce(episodes: Sequence[Episode], *, rng: random.Random, config: InductionConfig | None = None) -> Induction:
    """What ``episodes`` teach. Faults are left out. Deterministic in ``rng`` and the episodes.

    Where the world says of which kind its choices are, advice is about choices; else it is about the texts of actions
    and observations.
    """
    config = config or InductionConfig()
    scored = [episode for episode in episodes if episode.score is not None]
    if _says_kinds(scored):
        return induce_choices(scored, rng=rng, config=config)
    return induce_texts(scored, rng=rng, config=config)


def _says_kinds(episodes: Sequence[Episode]) -> bool:
    """Whether choices are listed with kinds that are more than the verb of the action."""
    choices = [choice for episode in episodes for turn in episode.turns[:3] for choice in turn.choices]
    return any(choice.kind != action_verb(choice.action) for choice in choices)


_: tuple[type[Induction], ...] = (ChoiceInduction, TextInduction)  # both are inductions, says the type checker
