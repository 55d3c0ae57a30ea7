"""The placebo arm: the final library with the texts of foreign directives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from reskill_agents.directives import body_for
from reskill_agents.episodes import Episode
from reskill_agents.induction_candidates import enumerate_directives
from reskill_agents.induction_turns import offered_choices
from reskill_agents.library import SkillLibrary
from reskill_agents.vocabulary import learn_vocabulary


def foreign_bodies(episodes: Sequence[Episode], library: SkillLibrary) -> list[str]:
    """Skill bodies that the grammar of advice can form over the words of ``episodes``, less those in ``library``."""
    own = {skill.body for skill in library}
    bodies = (body_for(directive) for directive in enumerate_directives(learn_vocabulary(offered_choices(episodes))))
    return [body for body in dict.fromkeys(bodies) if body not in own]


def placebo_library(library: SkillLibrary, bodies: Sequence[str], rng: random.Random) -> SkillLibrary:
    """Same names, triggers and order; every text is a foreign one (or another skill's where there are too few)."""
    size = len(library)
    if len(bodies) >= size:
        texts = rng.sample(list(bodies), size)
    else:
        own = [skill.body for skill in library]
        texts = own[1:] + own[:1]
    return SkillLibrary(tuple(replace(skill, body=body) for skill, body in zip(library, texts, strict=True)))
