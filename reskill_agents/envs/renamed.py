"""A world whose words mean nothing: every word of its closed vocabulary replaced by an invented one.

Whoever learns in it cannot profit from what "buy" or "search" mean, and code that names a world's words fails in it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from reskill_agents.directives import STOP_WORDS
from reskill_agents.environment import (
    AdaptableWorld,
    Choice,
    Environment,
    Observation,
    ScriptedActor,
    ScriptedWorld,
    Split,
    StepResult,
    Task,
)

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "kl", "pl", "st", "tr")
_VOWELS = "aeiou"
_DIGITS = "0123456789"
_WORD = re.compile(r"[a-z][a-z0-9]*")


def invented_words(count: int, rng: random.Random, taken: frozenset[str]) -> list[str]:
    """``count`` different pronounceable words of three syllables, none of them in ``taken`` or a function word."""
    words: dict[str, None] = {}
    while len(words) < count:
        word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(3))
        if word not in taken and word not in STOP_WORDS:
            words[word] = None
    return list(words)


class Dictionary:
    """A bijection between the words of a world and invented ones; other words, digits and signs stay.

    A number at the end of a word stays too (``w3`` and ``w4`` become ``vodamu3`` and ``vodamu4``).
    """

    def __init__(self, words: Sequence[str], seed: int) -> None:
        known = [word for word in words if _WORD.fullmatch(word)]
        stems = list(dict.fromkeys(word.rstrip(_DIGITS) for word in known))
        invented = invented_words(len(stems), random.Random(f"renamed/{seed}"), frozenset(words))
        new_stems = dict(zip(stems, invented, strict=True))
        self._new = {word: new_stems[stem := word.rstrip(_DIGITS)] + word[len(stem) :] for word in known}
        self._old = {new: old for old, new in self._new.items()}

    def rename(self, text: str) -> str:
        """``text`` with every known word replaced."""
        return _WORD.sub(lambda match: self._new.get(match[0], match[0]), text)

    def restore(self, text: str) -> str:
        """The text that :meth:`rename` turned into ``text``."""
        return _WORD.sub(lambda match: self._old.get(match[0], match[0]), text)

    def rename_observation(self, observation: Observation) -> Observation:
        """The observation and its choices, actions included."""
        return _translated(observation, self.rename)

    def restore_observation(self, observation: Observation) -> Observation:
        """The inverse of :meth:`rename_observation`."""
        return _translated(observation, self.restore)


def _translated(observation: Observation, translate: Callable[[str], str]) -> Observation:
    return replace(
        observation,
        text=translate(observation.text),
        task=translate(observation.task),
        choices=tuple(
            Choice(translate(c.action), translate(c.text), translate(c.kind), translate(c.group))
            for c in observation.choices
        ),
    )


class RenamedWorld:
    """``world`` under invented words; see :class:`reskill_agents.environment.ScriptedWorld`.

    Tasks keep their ids, tags and natural wording (agents see ``Observation.task``, which is renamed). Actions are
    renamed as well: ``click[buy now]`` becomes something like ``vodamu[katile brosopi]``.

    Args:
        world: a world with a closed vocabulary.
        seed: draws the words.
    """

    def __init__(self, world: ScriptedWorld, seed: int) -> None:
        self._world = world
        self._seed = seed
        self.name = f"{world.name}-renamed"
        self.max_turns = world.max_turns
        self._dictionary = Dictionary(world.vocabulary(), seed)

    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of the world beneath."""
        return self._world.tasks(split)

    def adaptation_tasks(self) -> Sequence[Task]:
        """Those of the world beneath; empty where it has none."""
        return self._world.adaptation_tasks() if isinstance(self._world, AdaptableWorld) else ()

    def make(self) -> Environment:
        """A new environment in invented words."""
        return _RenamedEnvironment(self._world.make(), self._dictionary)

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """The settings of the world beneath, and the seed of the words."""
        return {**self._world.describe(), "world": self.name, "renamed_seed": self._seed}

    def system_prompt(self) -> str:
        """The system prompt in invented words."""
        return self._dictionary.rename(self._world.system_prompt())

    def vocabulary(self) -> Sequence[str]:
        """Every word of observations, choices and system prompt; sorted, so that the order tells nothing either."""
        return tuple(sorted(self._dictionary.rename(word) for word in self._world.vocabulary()))

    def actor(self, seed: int) -> ScriptedActor:
        """The careless actor of the world beneath, who still reads the old words."""
        return _RenamedActor(self._world.actor(seed), self._dictionary)


class _RenamedEnvironment:
    def __init__(self, environment: Environment, dictionary: Dictionary) -> None:
        self._environment = environment
        self._dictionary = dictionary
        self._actions: dict[str, str] = {}

    def reset(self, task: Task, *, seed: int) -> Observation:
        return self._shown(self._environment.reset(task, seed=seed))

    def step(self, action: str) -> StepResult:
        old = self._actions.get(action) or self._dictionary.restore(action)
        result = self._environment.step(old)
        return replace(result, observation=self._shown(result.observation))

    def _shown(self, observation: Observation) -> Observation:
        renamed = self._dictionary.rename_observation(observation)
        pairs = zip(renamed.choices, observation.choices, strict=True)
        self._actions = {new.action: old.action for new, old in pairs}
        return renamed


class _RenamedActor:
    def __init__(self, actor: ScriptedActor, dictionary: Dictionary) -> None:
        self._actor = actor
        self._dictionary = dictionary

    def act(self, observation: Observation) -> Choice:
        restored = self._dictionary.restore_observation(observation)
        return observation.choices[restored.choices.index(self._actor.act(restored))]
